#!lua
-- Takes back dead letters that were exported, flagged as imported: nobody knows what was stored since.
-- KEYS[1]  meta
-- ARGV[1…] per letter: sequence number (8 bytes), facts (dead:info), record (dead:body). Large bodies were set before,
--          with an expiry, which is taken off here.
-- Returns  one letter each: 'a' taken, 'e' there already, 'w' its write is still in the queue, 'f' no room for dead letters,
--          'm' there are as many dead letters of its name as are kept, 'b' its large body did not come along
-- Errors   LAYOUT n
-- Rules    SUP cannot decide over such a letter: retry_dead takes it by force only.
-- include: clock keys record state mark dead
local layout, answer = call('HGET', P .. 'meta', 'layout'), {}
if not layout then
  call('HSET', P .. 'meta', 'layout', LAYOUT, 'shards', 1)
elseif layout ~= LAYOUT then
  return redis.error_reply('LAYOUT ' .. layout)
end

local function in_queue(name, id)
  local record, packed = call('HGET', WRITE, name), call('HGET', STATE, name)
  return record and sub(record, 2, 9) == id or packed and sub(packed, 1, 8) == id
end

local function import(id, info, record)
  local size, length = struct.unpack('>I4H', info, 18)
  local name, died = sub(info, 24, 23 + length), struct.unpack('>I7', info, 8)
  local blob = blob_at(record, byte(record, 18), RECORD_HEAD + 1)
  if call('HEXISTS', P .. 'dead:info', id) == 1 then
    return 'e'
  elseif in_queue(name, id) then
    return 'w'
  elseif blob and call('TTL', P .. 'blob:' .. blob) < 0 then -- gone, or without expiry: then another record's
    return call('EXISTS', P .. 'blob:' .. blob) == 1 and 'w' or 'b'
  elseif #letters_of(name) >= MAX_OF_NAME then
    return 'm'
  elseif not room_for_dead(size) then
    return 'f'
  end
  if blob then
    call('PERSIST', P .. 'blob:' .. blob)
  end
  info = sub(info, 1, 16) .. string.char(bit.bor(byte(info, 17), IMPORTED)) .. sub(info, 18)
  call('HSET', P .. 'dead:body', id, record)
  call('HSET', P .. 'dead:info', id, info)
  call('ZADD', P .. 'dead:at', died, id)
  add_letter(name, id)
  bump('dead', 1)
  bump('dead_bytes', size)
  return 'a'
end

for i = 1, #ARGV, 3 do
  answer[#answer + 1] = import(ARGV[i], ARGV[i + 1], ARGV[i + 2])
end
flush()
return table.concat(answer)
