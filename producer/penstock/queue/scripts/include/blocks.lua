-- Blocks by subject and reason, see aside.lua. For scripts that have checked the layout.
local MAX_BLOCKS = 1000 -- subjects: stats shows all of them in one call

-- Returns 1, 0 when the subject was blocked for this reason already, -1 when there are as many blocks as can be.
local function add_block(subject, reason, note, now)
  local packed = call('HGET', P .. 'blocks', subject)
  local reasons = packed and cmsgpack.unpack(packed) or {}
  if reasons[reason] then
    return 0
  elseif not packed and call('HLEN', P .. 'blocks') >= MAX_BLOCKS then
    return -1
  end
  reasons[reason] = { now, note }
  call('HSET', P .. 'blocks', subject, cmsgpack.pack(reasons))
  call('HDEL', P .. 'ending', subject) -- what has not come back yet stays aside
  if subject == '' then
    call('HSET', P .. 'meta', 'paused', 1)
  end
  bump('blocks', packed and 0 or 1)
  return 1
end

-- Returns 1 when the reason was there. With the last one the block ends: `end_blocks` brings back what it held.
local function remove_block(subject, reason)
  local packed = call('HGET', P .. 'blocks', subject)
  local reasons = packed and cmsgpack.unpack(packed) or {}
  local removed = reasons[reason] and 1 or 0
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
  return removed
end
