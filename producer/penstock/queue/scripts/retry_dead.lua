#!lua
-- Puts dead letters back into the queue, with their sequence numbers and fresh attempts.
-- KEYS[1]  meta
-- ARGV[1]  '1' to take an older dead letter although a newer one of its name exists, or an imported one   [2…] sequence numbers (8 bytes)
-- Returns  one letter a dead letter: 'q' queued, 's' superseded: a newer write of its name waits or was stored,
--          'w' an older write of its name, replayed before, is still in the queue,
--          'n' a newer dead letter of its name exists, 'i' it was imported, 'f' the queue is full, '-' no such dead letter
-- Rules    SUP: decided here, by Redis alone; what was stored has removed the older dead letters already.
-- include: clock keys counters record state enter lane mark dead
local forced, answer = ARGV[1] == '1', {}
local meta = call('HMGET', P .. 'meta', 'items', 'bytes')
local limit_items, limit_bytes = tonumber(meta[1]) or DEFAULT_ITEMS, tonumber(meta[2]) or DEFAULT_BYTES
local items, bytes = counter('items'), counter('bytes')

local function facts(info)
  local size, length = struct.unpack('>I4H', info, 18)
  return size, sub(info, 24, 23 + length)
end

local function retry(id)
  local info = call('HGET', P .. 'dead:info', id)
  if not info then
    return '-'
  end
  local size, name = facts(info)
  local seq, waiting = number_of(id), call('HGET', WRITE, name)
  if waiting then
    return number_of(sub(waiting, 2, 9)) > seq and 's' or 'w'
  end
  local ids, retained = letters_of(name), any_marked() and call('HGET', RETAINED, name)
  if not forced and retained and number_of(sub(retained, 2, 9)) > seq then
    return 's'
  elseif not forced and ids[#ids] ~= id then
    return 'n'
  elseif not forced and byte(info, 17) >= IMPORTED then
    return 'i' -- what was stored since the export has removed nothing
  end
  if items + 1 > limit_items or bytes + size > limit_bytes then
    return 'f'
  end
  local record = call('HGET', P .. 'dead:body', id)
  remove_letters(name, function(other) return other == seq end, true)
  call('HSET', WRITE, name, record)
  ready_from_record(name, record)
  bump('items', 1)
  bump('bytes', size)
  items, bytes = items + 1, bytes + size
  return 'q'
end

for i = 2, #ARGV do
  answer[#answer + 1] = retry(ARGV[i])
end
flush()
return table.concat(answer)
