-- CONTROL: carries out what users wrote into the control stream: cancel, pause, resume. Returns {command, subject,
-- outcome} of each; a command is deleted once it was carried out.
local retention_s = ARGV[1]

local function intake_is_behind()
  for _, queue in ipairs(queues) do
    local seen = redis.call('HGET', key('intake'), queue) or '0-0'
    if #redis.call('XRANGE', stream_of(queue), '(' .. seen, '+', 'COUNT', '1') > 0 then return true end
  end
  return false
end

-- CANCEL
local function cancel(id)
  local job = load_job(id)
  if not job then return 'no such job' end
  if has_ended(job) then return 'already ' .. job.state end
  if job.state == 'committing' then return 'too late: it is being published' end
  if job.state == 'running' then -- ended by the worker's next heartbeat
    change(id, 'cancel', '1')
    event(id, 'cancel_requested', '')
    return 'requested'
  end
  finish(id, job, 'cancelled', 'before it ran', retention_s)
  return 'cancelled'
end

local function pause_key(queue)
  if not queue then return key('paused') end
  for _, name in ipairs(queues) do
    if name == queue then return key('paused:' .. queue) end
  end
  return nil
end

local function execute(command)
  if command.cmd == 'cancel' then return command.id and cancel(command.id) or 'cancel needs an id' end
  if command.cmd ~= 'pause' and command.cmd ~= 'resume' then return 'unknown command' end
  local flag = pause_key(command.queue)
  if not flag then return 'no such queue' end
  if command.cmd == 'resume' then
    redis.call('DEL', flag)
    return 'resumed'
  end
  redis.call('SET', flag, text(now))
  return 'paused'
end

local reports = {}
for _, entry in ipairs(redis.call('XRANGE', key('control'), '-', '+', 'COUNT', '100')) do
  local command = table_of(entry[2])
  local subject = command.id or command.queue or ''
  local is_early = command.cmd == 'cancel' and command.id and redis.call('EXISTS', key('job:' .. command.id)) == 0 and
                       intake_is_behind()
  if not is_early then
    local outcome = execute(command)
    redis.call('XDEL', key('control'), entry[1])
    event(subject, 'control', (command.cmd or '') .. ': ' .. outcome)
    reports[#reports + 1] = {command.cmd or '', subject, outcome}
  end
end
return reports
