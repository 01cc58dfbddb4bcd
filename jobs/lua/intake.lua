-- INTAKE: a new entry becomes a job that users can see, or is buried, or dropped as a duplicate.
local queue, entry, verdict, id, has_own_id, reason = unpack(ARGV, 1, 6)
local v, max_attempts, not_before_s, idempotency_key, idempotency_s, output, title, advance = unpack(ARGV, 7, 14)

if advance == '1' then redis.call('HSET', key('intake'), queue, entry) end
if redis.call('HEXISTS', key('index'), queue .. ':' .. entry) == 1 then return {'seen', id, ''} end
if not payload_of(queue, entry) then return {'seen', id, ''} end

local function exists(name) return redis.call('EXISTS', key('job:' .. name)) == 1 end
local function drop(first)
  drop_entry(queue, entry)
  event(id, 'duplicate', first)
  return {'duplicate', id, first}
end

if redis.call('HGET', key('job:' .. id), 'entry') == entry and redis.call('HGET', key('job:' .. id), 'queue') == queue then
  redis.call('HSET', key('index'), queue .. ':' .. entry, id) -- the index was lost, the job was not
  return {'seen', id, ''}
end
if verdict == 'dead' and exists(id) then id, has_own_id = entry, '0' end
if exists(id) and has_own_id == '0' then id = id .. '.' .. queue end
if exists(id) then return drop(id) end
if idempotency_key ~= '' then
  local first = redis.call('GET', key('idem:' .. idempotency_key))
  if first then return drop(first) end
  redis.call('SET', key('idem:' .. idempotency_key), id, 'EX', idempotency_s)
end

local job = {queue = queue, entry = entry, attempts = '0'}
redis.call('HSET', key('index'), queue .. ':' .. entry, id)
change(id, 'state', 'queued', 'v', v, 'queue', queue, 'entry', entry, 'attempts', '0', 'max_attempts', max_attempts,
       'progress', '0', 'output', output, 'title', title, 'created_at', text(now))
redis.call('ZADD', key('jobs'), text(now), id)
if idempotency_key ~= '' then change(id, 'idempotency_key', idempotency_key) end
if verdict == 'dead' then
  bury(id, job, reason)
  return {'dead', id, reason}
end
if not_before_s ~= '' and tonumber(not_before_s) * 1000 > now then
  change(id, 'not_before', not_before_s)
  redis.call('ZADD', key('delayed'), text(tonumber(not_before_s) * 1000), id)
else
  make_ready(id, queue)
end
event(id, 'queued', '')
return {'queued', id, ''}
