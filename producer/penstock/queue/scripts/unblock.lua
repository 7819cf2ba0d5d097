#!lua flags=allow-oom
-- Takes back a reason of a block, and does one step of bringing back what ended blocks have set aside. Called again
-- until nothing is left; sweep does the same, so that a caller who dies in between strands nothing.
-- KEYS[1]  meta
-- ARGV[1]  most flows a call   [2], [3] subject and reason (see block.lua), or neither to only go on
-- Returns  {1 when the reason was there, flows brought back, 1 when there is more}
-- Errors   LAYOUT n
-- Rules    none of section 6. Whatever comes back wakes a worker.
-- include: clock keys counters record enter lane aside blocks
local layout = call('HGET', P .. 'meta', 'layout')
if layout and layout ~= LAYOUT then
  return redis.error_reply('LAYOUT ' .. layout)
end
local removed = ARGV[2] and remove_block(ARGV[2], ARGV[3]) or 0
local back = end_blocks(tonumber(ARGV[1]))
flush()
return { removed, back, call('EXISTS', P .. 'ending') }
