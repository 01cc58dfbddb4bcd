-- Shared by all scripts: stands in front of each of them (see "The scripts" in PROTOCOL.md). Runs inside Redis, one
-- script at a time.
local prefix = KEYS[1]
local group = 'render'
local queues = {'high', 'normal', 'low'}
local events_kept = 10000
local payload_kept = 4194304
local drain_s = 3600 -- an order to drain outlives a worker that vanished by so long

local function key(name) return prefix .. name end
local function stream_of(queue) return key('q:' .. queue) end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function text(number) return string.format('%.0f', number) end

-- Consumers that are no workers: their pending entries wait to be leased.
local function is_worker(consumer)
  local is_place = consumer == 'released' or consumer == 'long' or consumer == 'suspect' or consumer == 'parked'
  return not is_place and not consumer:find('^v%d+$')
end

-- Field-value list to table.
local function table_of(list)
  local result = {}
  for i = 1, #list, 2 do result[list[i]] = list[i + 1] end
  return result
end

local function load_job(id)
  local job = table_of(redis.call('HGETALL', key('job:' .. id)))
  return job.state and job or nil
end

local function change(id, ...) redis.call('HSET', key('job:' .. id), 'updated_at', text(now), ...) end
local function forget(id, ...) redis.call('HDEL', key('job:' .. id), ...) end

-- Further arguments are further fields of the entry.
local function event(id, name, detail, ...)
  redis.call('XADD', key('events'), 'MAXLEN', '~', events_kept, '*', 'id', id, 'event', name, 'detail', detail or '', ...)
  redis.call('PUBLISH', key('events:' .. id), cjson.encode({id = id, event = name, detail = detail or '', at = text(now)}))
end

-- Runs a command on a queue's group; if stream or group were deleted they are made anew and the result is nil.
local function on_group(queue, ...)
  local reply = redis.pcall(...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  if not reply.err:find('NOGROUP') and not reply.err:find('no such key') then error(reply.err) end
  redis.call('XGROUP', 'CREATE', stream_of(queue), group, '0', 'MKSTREAM')
  return nil
end

-- The payload of an entry; nil if the entry was deleted.
local function payload_of(queue, entry)
  local found = redis.call('XRANGE', stream_of(queue), entry, entry)
  return found[1] and (table_of(found[1][2]).job or '')
end

-- Makes `consumer` the holder of an entry. FORCE: also when the group was made anew and knows nothing of it.
local function assign(job, consumer, idle_ms)
  local claim = {'XCLAIM', stream_of(job.queue), group, consumer, '0', job.entry, 'IDLE', idle_ms, 'FORCE', 'JUSTID'}
  if not on_group(job.queue, unpack(claim)) then redis.call(unpack(claim)) end
end

local function drop_entry(queue, entry)
  redis.call('XACK', stream_of(queue), group, entry)
  redis.call('XDEL', stream_of(queue), entry)
  redis.call('HDEL', key('index'), queue .. ':' .. entry)
end

-- The entry of an ended job leaves the queue, and the job whatever it waited in.
local function settle(id, queue, entry)
  drop_entry(queue, entry)
  redis.call('ZREM', key('delayed'), id)
  redis.call('ZREM', key('ready:' .. queue), id)
end

local function owns(job, owner, token)
  return job ~= nil and job.owner == owner and job.token == redis.sha1hex(token)
end

local function is_running(job) return job.state == 'running' or job.state == 'committing' end
local function has_ended(job) return job.state == 'done' or job.state == 'dead' or job.state == 'cancelled' end

-- From now on it counts as waiting for a worker.
local function make_ready(id, queue)
  redis.call('HSET', key('job:' .. id), 'ready_at', text(now))
  redis.call('ZADD', key('ready:' .. queue), text(now), id)
end

-- Ready to be leased by whoever comes.
local function requeue(id, job, detail)
  change(id, 'state', 'queued')
  make_ready(id, job.queue)
  assign(job, job.suspect == '1' and 'suspect' or 'released', 86400000)
  event(id, 'queued', detail)
end

local function finish(id, job, state, detail, retention_s)
  change(id, 'state', state, 'finished_at', text(now))
  redis.call('EXPIRE', key('job:' .. id), retention_s)
  redis.call('ZADD', key('ended'), text(now + 1000 * tonumber(retention_s)), id)
  settle(id, job.queue, job.entry)
  event(id, state, detail)
end

-- Dead: kept with its reason and its payload until a person purges it.
local function bury(id, job, reason)
  local payload = (payload_of(job.queue, job.entry) or ''):sub(1, payload_kept)
  local letter = redis.call('XADD', key('dead'), '*', 'id', id, 'queue', job.queue, 'entry', job.entry, 'attempts',
                            job.attempts or '0', 'error', reason, 'job', payload)
  change(id, 'state', 'dead', 'error', reason, 'finished_at', text(now), 'dead_entry', letter)
  settle(id, job.queue, job.entry)
  event(id, 'dead', reason)
end

-- A running job whose worker or whose device is gone (`why`). In company nobody knows which job it was: this one becomes a
-- suspect and runs alone from now on. A crash while alone is its own and counts as an attempt.
local function crashed(id, job, why, retention_s)
  forget(id, 'heartbeat_at')
  if job.cancel == '1' then
    finish(id, job, 'cancelled', why, retention_s)
    return 'cancelled'
  end
  if job.alone == '1' then
    job.attempts = text(tonumber(job.attempts) + 1)
    change(id, 'attempts', job.attempts)
    if tonumber(job.attempts) >= tonumber(job.max_attempts) then
      bury(id, job, why .. ' while it ran alone; attempts: ' .. job.attempts .. ' of ' .. job.max_attempts ..
                        '; last worker: ' .. job.owner)
      return 'dead'
    end
  end
  if job.suspect ~= '1' then change(id, 'suspect_since', text(now)) end
  job.suspect = '1'
  change(id, 'suspect', '1', 'error', why)
  requeue(id, job, 'suspect: ' .. why)
  return 'queued'
end

-- As crashed(), for a worker that is silent: what it still sends is refused.
local function abandoned(id, job, retention_s)
  forget(id, 'token')
  return crashed(id, job, 'worker ' .. job.owner .. ' vanished', retention_s)
end
