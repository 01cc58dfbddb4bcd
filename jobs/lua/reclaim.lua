-- RECLAIM: takes entries from workers that sent no heartbeat for a whole lease. Returns {id, owner, state} of each job.
local lease_ms, retention_s = tonumber(ARGV[1]), ARGV[2]
local reports = {}

local function take_back(queue, entry, owner)
  local id = redis.call('HGET', key('index'), queue .. ':' .. entry)
  local job = id and load_job(id)
  if not job then return assign({queue = queue, entry = entry}, 'released', '86400000') end -- CLAIM has it taken in
  if has_ended(job) then return settle(id, queue, entry) end -- its acknowledgement was lost
  if is_running(job) then
    reports[#reports + 1] = {id, owner, abandoned(id, job, retention_s)}
  elseif redis.call('ZSCORE', key('delayed'), id) then
    assign(job, 'parked', '86400000')
  else
    requeue(id, job, 'found with ' .. owner)
  end
end

for _, queue in ipairs(queues) do
  local consumers = on_group(queue, 'XINFO', 'CONSUMERS', stream_of(queue), group) or {}
  for _, info in ipairs(consumers) do
    local consumer = table_of(info)
    if is_worker(consumer.name) and consumer.pending > 0 then
      local expired =
          redis.call('XPENDING', stream_of(queue), group, 'IDLE', lease_ms, '-', '+', '100', consumer.name)
      for _, entry in ipairs(expired) do take_back(queue, entry[1], consumer.name) end
    elseif is_worker(consumer.name) and consumer.idle > 20 * lease_ms then
      redis.call('XGROUP', 'DELCONSUMER', stream_of(queue), group, consumer.name) -- holds nothing: nothing is lost
    end
  end
end
return reports
