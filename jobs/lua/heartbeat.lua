-- HEARTBEAT: keeps a lease, publishes progress, and with phase "committing" passes the point of no return.
local id, owner, token, phase, progress, eta, commit, retention_s, first_audio_ms = unpack(ARGV)
local job = load_job(id)
if not owns(job, owner, token) then return 'lost' end
if job.state == 'cancelled' then return 'cancelled' end
if not is_running(job) then return 'lost' end
if job.cancel == '1' and job.state == 'running' then
  finish(id, job, 'cancelled', 'while running', retention_s)
  return 'cancelled'
end
assign(job, owner, '0')
change(id, 'heartbeat_at', text(now))
if phase == 'committing' then
  change(id, 'state', 'committing', 'commit', commit)
  if job.state == 'running' then event(id, 'committing', '') end
else
  change(id, 'progress', progress, 'eta', eta)
  if first_audio_ms and first_audio_ms ~= '' then change(id, 'first_audio_ms', first_audio_ms) end
  redis.call('PUBLISH', key('events:' .. id),
             cjson.encode({id = id, event = 'progress', progress = progress, eta = eta, at = text(now)}))
end
return 'held'
