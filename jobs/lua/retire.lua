-- RETIRE: this worker leaves. Leases are not touched. Repeating it changes nothing.
local owner = ARGV[1]
redis.call('DEL', key('worker:' .. owner), key('drain:' .. owner), key('claim:' .. owner))
redis.call('ZREM', key('workers'), owner)
return 'held'
