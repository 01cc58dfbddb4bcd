-- ANNOUNCE: this worker lives. A script because a plain SET is refused when Redis is out of memory. Answers whether
-- somebody asked the worker to drain.
local owner, info, ttl_s = unpack(ARGV)
redis.call('SET', key('worker:' .. owner), info, 'EX', ttl_s)
redis.call('ZADD', key('workers'), text(now), owner)
redis.call('ZREMRANGEBYSCORE', key('workers'), '-inf', text(now - 1000 * tonumber(ttl_s)))
return redis.call('EXPIRE', key('drain:' .. owner), drain_s) == 1 and 'drain' or 'held'
