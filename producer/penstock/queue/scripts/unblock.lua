#!lua flags=allow-oom
-- Takes back a reason of a block, and does one step of bringing back what ended blocks have set aside. Called again
-- until nothing is left; sweep does the same, so that a caller who dies in between strands nothing.
-- KEYS[1]  meta
-- ARGV[1]  most flows a call   [2], [3] subject and reason (see block.lua), or neither to only go on
-- Returns  {1 when the reason was there, flows brought back, 1 when there is more}
-- Errors   LAYOUT n
-- Rules    none of section 6. Whatever comes back wakes a worker.
-- include: clock keys record lane aside
local subject, reason, removed = ARGV[2], ARGV[3], 0
local layout = call('HGET', P .. 'meta', 'layout')
if layout and layout ~= LAYOUT then
  return redis.error_reply('LAYOUT ' .. layout)
end
if subject then
  local packed = call('HGET', P .. 'blocks', subject)
  local reasons = packed and cmsgpack.unpack(packed) or {}
  removed = reasons[reason] and 1 or 0
  reasons[reason] = nil
  if next(reasons) then
    call('HSET', P .. 'blocks', subject, cmsgpack.pack(reasons))
  elseif packed then
    call('HDEL', P .. 'blocks', subject)
    bump('blocks', -1)
    if subject == '' then
      call('HDEL', P .. 'meta', 'paused')
      wake_wanted = true -- enqueue wakes nobody while the queue is paused
    else
      call('HSET', P .. 'ending', subject, '')
    end
  end
end
local back = end_blocks(tonumber(ARGV[1]))
flush()
return { removed, back, call('EXISTS', P .. 'ending') }
