-- COUNTS: {paused, delayed, dead, then open, running, paused of each queue}.
local function number(flag) return redis.call('EXISTS', key(flag)) end
local result = {number('paused'), redis.call('ZCARD', key('delayed')), redis.call('XLEN', key('dead'))}
for _, queue in ipairs(queues) do
  local running = 0
  local summary = on_group(queue, 'XPENDING', stream_of(queue), group)
  for _, consumer in ipairs(summary and summary[4] or {}) do
    if is_worker(consumer[1]) then running = running + tonumber(consumer[2]) end
  end
  result[#result + 1] = redis.call('XLEN', stream_of(queue))
  result[#result + 1] = running
  result[#result + 1] = number('paused:' .. queue)
end
return result
