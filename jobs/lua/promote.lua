-- PROMOTE: delayed jobs whose time has come are ready. Returns how many. And jobs whose record has expired leave the
-- list of all jobs.
local due = redis.call('ZRANGEBYSCORE', key('delayed'), '-inf', text(now), 'LIMIT', '0', '100')
for _, id in ipairs(due) do
  redis.call('ZREM', key('delayed'), id)
  local job = load_job(id)
  if job and (job.state == 'retry_wait' or job.state == 'queued') then requeue(id, job, 'its time has come') end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('ended'), '-inf', text(now - 1000), 'LIMIT', '0', '1000')) do
  redis.call('ZREM', key('ended'), id)
  if redis.call('EXISTS', key('job:' .. id)) == 0 then redis.call('ZREM', key('jobs'), id) end
end
return #due
