#!lua flags=allow-oom
-- Blocks a bucket, a flow or the whole queue for a reason: claims leave it alone until the reason is taken back.
-- KEYS[1]  meta
-- ARGV[1]  subject: a bucket, 'bucket/tenant', or '' for the whole queue   [2] reason   [3] note, shown with it
-- Returns  1, 0 when it was blocked for this reason already, -1 when there are as many blocks as can be
-- Errors   LAYOUT n
-- Rules    none of section 6. A write in flight is not called back.
-- include: clock keys
local MAX_BLOCKS = 1000 -- subjects: stats shows all of them in one call
local subject, reason = ARGV[1], ARGV[2]
local layout = call('HGET', P .. 'meta', 'layout')
if layout and layout ~= LAYOUT then
  return redis.error_reply('LAYOUT ' .. layout)
end
local packed = call('HGET', P .. 'blocks', subject)
local reasons = packed and cmsgpack.unpack(packed) or {}
if reasons[reason] then
  return 0
elseif not packed and call('HLEN', P .. 'blocks') >= MAX_BLOCKS then
  return -1
end
reasons[reason] = { clock(), ARGV[3] }
call('HSET', P .. 'blocks', subject, cmsgpack.pack(reasons))
call('HDEL', P .. 'ending', subject) -- what has not come back yet stays aside
if subject == '' then
  call('HSET', P .. 'meta', 'paused', 1)
end
bump('blocks', packed and 0 or 1)
flush()
return 1
