#!lua flags=allow-oom
-- A bucket's destination lives: its suspension ends, and a first step of its flows comes back; sweeps do the rest.
-- KEYS[1]  meta
-- ARGV[1]  bucket   [2] most flows a call
-- Returns  when the suspension began in µs, or 0 when there was none
-- Errors   LAYOUT n
-- Rules    none of section 6. Whatever comes back wakes a worker.
-- include: clock keys counters record enter lane aside blocks suspension
local layout = call('HGET', P .. 'meta', 'layout')
if layout and layout ~= LAYOUT then
  return redis.error_reply('LAYOUT ' .. layout)
end
call('HDEL', P .. 'suspects', ARGV[1])
local packed = call('HGET', P .. 'suspended', ARGV[1])
if not packed then
  return 0
end
call('HDEL', P .. 'suspended', ARGV[1])
bump('suspended', -1)
remove_block(ARGV[1], SUSPENDED)
end_blocks(tonumber(ARGV[2]))
flush()
return cmsgpack.unpack(packed).since
