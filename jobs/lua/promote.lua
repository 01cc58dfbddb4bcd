-- PROMOTE: delayed jobs whose time has come are ready. Returns how many.
local due = redis.call('ZRANGEBYSCORE', key('delayed'), '-inf', text(now), 'LIMIT', '0', '100')
for _, id in ipairs(due) do
  redis.call('ZREM', key('delayed'), id)
  local job = load_job(id)
  if job and (job.state == 'retry_wait' or job.state == 'queued') then requeue(id, job, 'its time has come') end
end
return #due
