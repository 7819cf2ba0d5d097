#!lua flags=allow-oom
-- A worker found a bucket's destination broken. It is suspended for all when another worker found the same lately, or when
-- no other is alive: one sick host does not stop the others.
-- KEYS[1]  meta
-- ARGV[1]  bucket   [2] worker   [3] error class   [4] code   [5] HTTP status or ''   [6] µs until the first probe
-- ARGV[7]  µs for which a finding counts   [8] µs for which a beat tells that a worker is alive
-- Returns  's' suspended now, 'a' it was already, 'w' others do not confirm it yet, 'f' there are too many blocks
-- Errors   LAYOUT n
-- Rules    none of section 6; promise 4.
-- include: clock keys counters blocks suspension
local bucket, worker, now = ARGV[1], ARGV[2], clock()
local layout = call('HGET', P .. 'meta', 'layout')
if layout and layout ~= LAYOUT then
  return redis.error_reply('LAYOUT ' .. layout)
elseif call('HEXISTS', P .. 'suspended', bucket) == 1 then
  return 'a'
end
local packed = call('HGET', P .. 'suspects', bucket)
local found, confirmed = {}, false
for other, at in pairs(packed and cmsgpack.unpack(packed) or {}) do
  if other ~= worker and at + tonumber(ARGV[7]) > now then
    found[other], confirmed = at, true
  end
end
found[worker] = now
if not confirmed then
  local since = now - tonumber(ARGV[8])
  local me = tonumber(call('ZSCORE', P .. 'worker', worker))
  confirmed = call('ZCOUNT', P .. 'worker', since, '+inf') - (me and me >= since and 1 or 0) == 0
end
if not confirmed then
  call('HSET', P .. 'suspects', bucket, cmsgpack.pack(found))
  return 'w'
end
local answer = add_block(bucket, SUSPENDED, ARGV[4], now)
if answer == -1 then
  return 'f'
end
call('HDEL', P .. 'suspects', bucket)
local wait = tonumber(ARGV[6])
call('HSET', P .. 'suspended', bucket, cmsgpack.pack({ since = now, next = now + wait, interval = wait, probes = 0,
  class = ARGV[3], code = ARGV[4], status = tonumber(ARGV[5]) or 0 }))
bump('suspended', 1)
flush()
return 's'
