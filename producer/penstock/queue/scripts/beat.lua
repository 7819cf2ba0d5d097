#!lua flags=allow-oom
-- A worker's sign of life; the answer holds what the queue's meta asks of every worker, so that one round trip does both.
-- Without memory too: that is when an operator looks for the workers.
-- KEYS[1]  meta
-- ARGV[1]  worker   [2] its facts (msgpack, opaque to the scripts)   [3] µs after which a silent worker is forgotten
-- Returns  {log level or false, shards, the number until then while it is being changed, or false}
-- Errors   LAYOUT n
-- Rules    none of section 6.
-- include: clock keys
local MAX_WORKERS = 1000 -- entries kept, the latest: workers.lua shows all of them in one call
local STEP = 20          -- entries one call forgets at most
local found = call('HMGET', P .. 'meta', 'layout', 'log_level', 'shards', 'shards_was')
if found[1] and found[1] ~= LAYOUT then
  return redis.error_reply('LAYOUT ' .. found[1])
end
local now = clock()
call('HSET', P .. 'workers', ARGV[1], ARGV[2])
call('ZADD', P .. 'worker', now, ARGV[1])
local surplus = call('ZCARD', P .. 'worker') - MAX_WORKERS
local oldest = call('ZRANGE', P .. 'worker', 0, STEP - 1, 'WITHSCORES')
for i = 1, #oldest / 2 do
  if i > surplus and tonumber(oldest[2 * i]) >= now - ARGV[3] then
    break
  end
  call('ZREM', P .. 'worker', oldest[2 * i - 1])
  call('HDEL', P .. 'workers', oldest[2 * i - 1])
end
return { found[2], found[3], found[4] }
