-- CLAIM: leases the next job, in strict priority order, to one worker.
local owner, token, known_v, lease_ms, is_idle, patience_ms, retention_s, lowest, max_wait_ms, only_short = unpack(ARGV)
known_v, lease_ms, patience_ms = tonumber(known_v), tonumber(lease_ms), tonumber(patience_ms)
max_wait_ms = tonumber(max_wait_ms or '0')

local function answer_of(id, job, payload)
  local attempt = text(tonumber(job.attempts) + 1)
  return {'job', id, job.queue, job.entry, payload, attempt, job.suspect == '1' and '1' or '0', job.commit or '',
          job.overdue or '0'}
end

local function lease(id, job, overdue)
  local payload = payload_of(job.queue, job.entry)
  if not payload then
    bury(id, job, 'its queue entry was deleted')
    return nil
  end
  assign(job, owner, '0')
  redis.call('ZREM', key('ready:' .. job.queue), id)
  local alone = job.suspect == '1' and '1' or '0'
  job.overdue = overdue
  change(id, 'state', 'running', 'owner', owner, 'token', redis.sha1hex(token), 'alone', alone, 'started_at', text(now),
         'heartbeat_at', text(now), 'overdue', overdue)
  if alone == '1' and redis.call('GET', key('alone')) == owner then redis.call('DEL', key('alone')) end
  redis.call('SET', key('claim:' .. owner), id, 'PX', lease_ms)
  event(id, 'running', owner)
  return answer_of(id, job, payload)
end

-- Leases a pending entry, or puts it where it belongs: afterwards it is no longer where it was found.
local function admit(queue, entry)
  local id = redis.call('HGET', key('index'), queue .. ':' .. entry)
  local job = id and load_job(id)
  if not job then
    redis.call('HDEL', key('index'), queue .. ':' .. entry)
    assign({queue = queue, entry = entry}, 'released', '86400000')
    return {'intake', queue, entry, payload_of(queue, entry) or ''}
  end
  if has_ended(job) then return settle(id, queue, entry) end
  if is_running(job) then -- delivered again because the group was made anew
    local is_alive = tonumber(job.heartbeat_at) + lease_ms > now
    if is_alive then assign(job, job.owner, '0') else abandoned(id, job, retention_s) end
    return nil
  end
  if redis.call('ZSCORE', key('delayed'), id) then return assign(job, 'parked', '86400000') end
  if tonumber(job.v) > known_v then return assign(job, 'v' .. job.v, '86400000') end
  if job.long == '1' and only_short == '1' then return assign(job, 'long', '86400000') end
  if job.suspect == '1' and is_idle == '0' then return assign(job, 'suspect', '86400000') end
  return lease(id, job, '0')
end

local function oldest_of(queue, consumer)
  local found = on_group(queue, 'XPENDING', stream_of(queue), group, '-', '+', '1', consumer)
  return found and found[1] and found[1][1]
end

local function undelivered(queue)
  local found = redis.call('XREADGROUP', 'GROUP', group, owner, 'COUNT', '1', 'STREAMS', stream_of(queue), '>')
  return found and found[1][2][1] and found[1][2][1][1]
end

-- A fleet that is never idle would never run its suspects: after a while one worker stops taking other jobs.
local function must_empty_itself(queue)
  local entry = oldest_of(queue, 'suspect')
  local id = entry and redis.call('HGET', key('index'), queue .. ':' .. entry)
  local since = id and redis.call('HGET', key('job:' .. id), 'suspect_since')
  if not since or tonumber(since) + patience_ms > now then return false end
  if not redis.call('SET', key('alone'), owner, 'NX', 'PX', lease_ms) and redis.call('GET', key('alone')) ~= owner then
    return false
  end
  redis.call('PEXPIRE', key('alone'), lease_ms)
  return true
end

local function next_of(queue)
  local sources = {}
  if is_idle == '1' then sources[1] = 'suspect' end
  for v = known_v, 2, -1 do sources[#sources + 1] = 'v' .. v end
  sources[#sources + 1] = 'released'
  if only_short ~= '1' then sources[#sources + 1] = 'long' end
  for _ = 1, 1000 do
    local entry
    for _, consumer in ipairs(sources) do
      entry = entry or oldest_of(queue, consumer)
    end
    entry = entry or undelivered(queue)
    if not entry then return nil end
    local answer = admit(queue, entry)
    if answer then return answer end
  end
  return nil
end

local function is_paused(queue) return redis.call('EXISTS', key('paused:' .. queue)) == 1 end

-- The job of a queue that has been ready for longer than max_wait and that this worker may run; or 'suspects'.
local function overdue_of(queue)
  local ids = redis.call('ZRANGEBYSCORE', key('ready:' .. queue), '-inf', text(now - max_wait_ms), 'LIMIT', '0', '100')
  for _, id in ipairs(ids) do
    local job = load_job(id)
    if not job or job.state ~= 'queued' then
      redis.call('ZREM', key('ready:' .. queue), id) -- its record was deleted by hand
    elseif job.suspect == '1' and is_idle == '0' then
      if must_empty_itself(queue) then return 'suspects' end
    elseif tonumber(job.v) <= known_v and not (job.long == '1' and only_short == '1') then
      return id, job
    end
  end
  return nil
end

-- Strict priorities would let lower queues wait for ever: what waited too long goes before all queues, oldest first.
local function most_overdue()
  local oldest, oldest_job
  for i = 2, #queues do
    if queues[i - 1] == lowest then break end
    local id, job
    if not is_paused(queues[i]) then id, job = overdue_of(queues[i]) end
    if id == 'suspects' and not job then return {'suspects'} end
    if id and (not oldest or tonumber(job.ready_at) < tonumber(oldest_job.ready_at)) then oldest, oldest_job = id, job end
  end
  if not oldest then return nil end
  return lease(oldest, oldest_job, '1') or most_overdue()
end

-- The same token again: the reply to the last call was lost.
local function claimed_already()
  local id = redis.call('GET', key('claim:' .. owner))
  local job = id and load_job(id)
  if not job or not owns(job, owner, token) or not is_running(job) then return nil end
  local payload = payload_of(job.queue, job.entry)
  return payload and answer_of(id, job, payload)
end

local repeated = claimed_already()
if repeated then return repeated end
if redis.call('EXISTS', key('drain:' .. owner)) == 1 then return {'drain'} end
if redis.call('EXISTS', key('paused')) == 1 then return {'paused'} end
local overdue = max_wait_ms > 0 and most_overdue()
if overdue then return overdue end
for _, queue in ipairs(queues) do
  if not is_paused(queue) then
    if is_idle == '0' and must_empty_itself(queue) then return {'suspects'} end
    local answer = next_of(queue)
    if answer then return answer end
  end
  if queue == lowest then break end
end
return {'none'}
