-- ANNOUNCE: this worker lives. A script because a plain SET is refused when Redis is out of memory.
local owner, info, ttl_s = unpack(ARGV)
redis.call('SET', key('worker:' .. owner), info, 'EX', ttl_s)
return 'held'
