-- FAIL: the attempt failed. "transient" waits and tries again until max_attempts; "permanent" buries the job; "crash":
-- the worker's device failed under it, which is held against the job as if the worker had died.
local id, owner, token, kind, reason, base_ms, longest_ms, retention_s = unpack(ARGV)
local job = load_job(id)
if not owns(job, owner, token) then return 'lost' end
if job.state == 'retry_wait' then return 'retry' end
if job.state == 'dead' or job.state == 'cancelled' then return job.state end
if job.state == 'queued' and kind == 'crash' then return 'retry' end
if not is_running(job) then return 'lost' end
if job.cancel == '1' then
  finish(id, job, 'cancelled', reason, retention_s)
  return 'cancelled'
end
if kind == 'crash' then return crashed(id, job, reason, retention_s) == 'dead' and 'dead' or 'retry' end
job.attempts = text(tonumber(job.attempts) + 1)
change(id, 'attempts', job.attempts, 'error', reason)
if kind == 'permanent' or tonumber(job.attempts) >= tonumber(job.max_attempts) then
  bury(id, job, reason)
  return 'dead'
end
-- Doubles with every attempt; up to a quarter more, so that jobs that failed together do not return together.
local delay = math.min(tonumber(base_ms) * 2 ^ (tonumber(job.attempts) - 1), tonumber(longest_ms))
delay = delay * (1 + tonumber(time[2]) % 1000 / 4000)
change(id, 'state', 'retry_wait', 'retry_at', text(now + delay))
redis.call('ZADD', key('delayed'), text(now + delay), id)
assign(job, 'parked', '86400000')
event(id, 'retry_wait', reason)
return 'retry'
