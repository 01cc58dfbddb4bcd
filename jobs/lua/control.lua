-- CONTROL: carries out what users wrote into the control stream: cancel, retry, purge, pause, resume, drain. Returns
-- {command, subject, outcome} of each; a command is deleted once it was carried out.
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

-- A dead job as it was when it was taken in, with a new entry in its queue.
local function revive(id, job)
  local letter = job.dead_entry and redis.call('XRANGE', key('dead'), job.dead_entry, job.dead_entry)[1]
  local payload = letter and table_of(letter[2]).job or ''
  if payload == '' then return 'its payload is gone: add it again' end
  local entry = redis.call('XADD', stream_of(job.queue), '*', 'job', payload)
  redis.call('HSET', key('index'), job.queue .. ':' .. entry, id)
  redis.call('XDEL', key('dead'), job.dead_entry)
  forget(id, 'error', 'finished_at', 'dead_entry', 'retry_at', 'not_before', 'suspect', 'suspect_since', 'alone', 'cancel',
         'owner', 'token', 'started_at', 'heartbeat_at', 'eta', 'first_audio_ms', 'overdue')
  change(id, 'state', 'queued', 'entry', entry, 'attempts', '0', 'progress', '0')
  make_ready(id, job.queue)
  event(id, 'requeued', '')
  return 'requeued'
end

-- RETRY
local function retry(id)
  local job = load_job(id)
  if not job then return 'no such job' end
  if job.state == 'dead' then return revive(id, job) end
  if job.state ~= 'retry_wait' then return 'neither dead nor waiting for a retry: it is ' .. job.state end
  redis.call('ZREM', key('delayed'), id)
  requeue(id, job, 'retried before its time')
  return 'requeued'
end

-- PURGE: nothing of the job stays but its events, and workers learn from `purged` that they have to forget it.
local function purge(id)
  local job = load_job(id)
  if not job then return 'no such job' end
  if not has_ended(job) then return 'not ended: it is ' .. job.state end
  settle(id, job.queue, job.entry)
  if job.dead_entry then redis.call('XDEL', key('dead'), job.dead_entry) end
  local first = job.idempotency_key and key('idem:' .. job.idempotency_key)
  if first and redis.call('GET', first) == id then redis.call('DEL', first) end
  redis.call('ZREM', key('jobs'), id)
  redis.call('ZREM', key('ended'), id)
  redis.call('DEL', key('job:' .. id))
  redis.call('XADD', key('purged'), 'MINID', '~', text(now - 1000 * tonumber(retention_s)), '*', 'id', id)
  event(id, 'purged', '')
  return 'purged'
end

-- DRAIN
local function drain(worker)
  if worker and redis.call('EXISTS', key('worker:' .. worker)) == 0 then return 'no such worker' end
  local told = 0
  for _, name in ipairs(worker and {worker} or redis.call('ZRANGE', key('workers'), '0', '-1')) do
    if redis.call('EXISTS', key('worker:' .. name)) == 1 then
      redis.call('SET', key('drain:' .. name), text(now), 'EX', drain_s)
      told = told + 1
    end
  end
  return told > 0 and 'draining' or 'no worker is alive'
end

local function pause_key(queue)
  if not queue then return key('paused') end
  for _, name in ipairs(queues) do
    if name == queue then return key('paused:' .. queue) end
  end
  return nil
end

local function execute(command)
  local of_job = ({cancel = cancel, retry = retry, purge = purge})[command.cmd]
  if of_job then return command.id and of_job(command.id) or command.cmd .. ' needs an id' end
  if command.cmd == 'drain' then return drain(command.worker) end
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
  local subject = command.id or command.queue or command.worker or ''
  local is_early = command.cmd == 'cancel' and command.id and redis.call('EXISTS', key('job:' .. command.id)) == 0 and
                       intake_is_behind()
  if not is_early then
    local outcome = execute(command)
    redis.call('XDEL', key('control'), entry[1])
    event(subject, 'control', (command.cmd or '') .. ': ' .. outcome, 'command', entry[1])
    reports[#reports + 1] = {command.cmd or '', subject, outcome}
  end
end
return reports
