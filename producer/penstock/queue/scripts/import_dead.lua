#!lua
-- Takes back dead letters that were exported, flagged as imported: nobody knows what was stored since.
-- KEYS[1]  meta
-- ARGV[1]  number of shards that the caller counts with
-- ARGV[2…] per letter: sequence number (8 bytes), facts (dead:info), record (dead:body). Large bodies were set before,
--          with an expiry, which is taken off here.
-- Returns  one letter each: 'a' taken, 'e' there already, 'w' its write is still in the queue, 'f' no room for dead letters,
--          'm' there are as many dead letters of its name as are kept, 'b' its large body did not come along,
--          'c' its number is further ahead of the clock than any clock is wrong
-- Errors   LAYOUT n, SHARDS n: the queue has another number of shards, 0 while that is being changed
-- Rules    SUP cannot decide over such a letter: retry_dead takes it by force only. Promise 2: what the queue accepts from
--          now on has higher numbers. EPOCH: one begins for numbers that the clock has yet to reach.
-- include: clock server keys counters record state mark dead numbers epoch
local MOST_AHEAD = 86400000000 -- µs: a day
local now = clock()
local meta, answer = call('HMGET', P .. 'meta', 'layout', 'shards'), {}
if meta[1] and meta[1] ~= LAYOUT then
  return redis.error_reply('LAYOUT ' .. meta[1])
elseif (meta[2] or '1') ~= ARGV[1] then
  return redis.error_reply('SHARDS ' .. (meta[2] or '1'))
elseif not meta[1] then
  call('HSET', P .. 'meta', 'layout', LAYOUT, 'shards', 1)
end

local function in_queue(name, id)
  local record, packed = call('HGET', WRITE, name), call('HGET', STATE, name)
  return record and sub(record, 2, 9) == id or packed and sub(packed, 1, 8) == id
end

-- A number that is higher than all that were given is another queue's, or this Redis forgot that it gave it.
local function rise_above(seq)
  local count = read_counters()
  if seq <= count.last then
    return
  end
  count.last = seq
  local meta = call('HMGET', P .. 'meta', 'epoch_seq', 'epoch_at', 'epoch_until', 'epoch_of')
  if seq <= least_number(now, meta[1], meta[2]) then
    return
  end
  begin_epoch(now) -- or the next numbers would tell no time until the clock has passed this one
  local till = meta[3] or not meta[1] and now
  if till and (meta[4] or server()) == server() then -- no claim was lost: they mark no longer than they did
    call('HSET', P .. 'meta', 'epoch_until', till)
  end
end

local function import(id, info, record)
  local size, length = struct.unpack('>I4H', info, 18)
  local name, died = sub(info, 24, 23 + length), struct.unpack('>I7', info, 8)
  local blob = blob_at(record, byte(record, 18), RECORD_HEAD + 1)
  if call('HEXISTS', P .. 'dead:info', id) == 1 then
    return 'e'
  elseif in_queue(name, id) then
    return 'w'
  elseif number_of(id) > math.max(now + MOST_AHEAD, counter('last')) then
    return 'c'
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
  rise_above(number_of(id))
  return 'a'
end

for i = 2, #ARGV, 3 do
  answer[#answer + 1] = import(ARGV[i], ARGV[i + 1], ARGV[i + 2])
end
flush()
return table.concat(answer)
