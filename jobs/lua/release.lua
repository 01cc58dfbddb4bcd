-- RELEASE: a worker gives a job back unfinished, without blame. Repeating it changes nothing.
local id, owner, token, retention_s, is_long = unpack(ARGV)
local job = load_job(id)
if not owns(job, owner, token) then return 'lost' end
if job.state == 'queued' then return 'held' end
if job.state == 'cancelled' then return 'cancelled' end
if not is_running(job) then return 'lost' end
if job.cancel == '1' then
  finish(id, job, 'cancelled', 'while running', retention_s)
  return 'cancelled'
end
requeue(id, job, 'released by ' .. owner)
if is_long == '1' then -- it was only looked at, and goes on waiting
  local since = job.ready_at or text(now)
  change(id, 'long', '1', 'ready_at', since)
  redis.call('ZADD', key('ready:' .. job.queue), since, id)
end
return 'held'
