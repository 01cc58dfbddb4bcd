-- COMPLETE: the output is published; the job is done. Repeating it changes nothing.
local id, owner, token, result, retention_s = unpack(ARGV)
local job = load_job(id)
if not owns(job, owner, token) then return 'lost' end
if job.state == 'done' then return 'held' end
if job.state == 'cancelled' then return 'cancelled' end
if not is_running(job) then return 'lost' end
change(id, 'result', result, 'progress', '1', 'eta', '0')
forget(id, 'error', 'cancel', 'suspect', 'suspect_since', 'alone')
finish(id, job, 'done', result, retention_s)
return 'held'
