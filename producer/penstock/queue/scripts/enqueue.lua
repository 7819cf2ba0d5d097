#!lua
-- Accepts writes. Each group of writes is accepted or refused as a whole, whatever becomes of its neighbours.
-- KEYS[1]  meta
-- ARGV[1]  producer id   ARGV[2]  call number (8 bytes)   ARGV[3]  number of shards that the producer counts with
-- ARGV[4]  sizes of the groups (2 bytes each)   ARGV[5…] per write: name, head (priority(1) flags(1), of a spooled write
--          more, see spooled.lua), tail (see record.lua)
-- Returns  one string, per group: 'A' and per write seq(8) coalesced(1), or a refusal: reason(1) limit(8) current(8)
--          with the reasons 'i' items, 'b' bytes, 'm' a large body is gone; 'O' alone when the call is older than one
--          that was answered. The same call number gets the same answer again. 'R' and the number of shards (2 bytes), and
--          nothing else, when that is another one than the producer counts with: nothing was accepted, nor is the call
--          remembered. 0 while the number is being changed.
--          A spooled write that is superseded has the number 0. All writes of a call are spooled, or none.
-- Errors   LAYOUT n: the queue has another layout than this script's. LOOK: much has ended since the sender of spooled
--          writes has looked; nothing was accepted, nor is the call remembered.
-- Rules    RETAIN: a claimed write of a marked name is kept although a newer one takes its place. EPOCH: a server that is
--          another than before gives higher numbers than that one did. Keeps promises 1 (accepted is durable), 2 (seq
--          grows), 5 (bounded).
-- include: clock server keys record state lane mark alone epoch settled spooled
local CALL_TTL = 600 -- seconds an answer is kept for a call that is sent again

-- The large body of a write that is refused; one without an expiry belongs to a write that was accepted before.
local function discard_blob(head, tail)
  local blob = blob_at(tail, byte(head, 2), 1)
  if blob and call('TTL', P .. 'blob:' .. blob) > 0 then
    call('UNLINK', P .. 'blob:' .. blob)
  end
end

local call_key = P .. 'call:' .. ARGV[1]
local answered = call('GET', call_key)
if answered then
  local number = number_of(answered)
  if number == number_of(ARGV[2]) then
    call('EXPIRE', call_key, CALL_TTL) -- a write, or a WAIT behind the call would have nothing to wait for
    return sub(answered, 9)
  elseif number > number_of(ARGV[2]) then
    return 'O' -- a request that was given up on and arrives late must not overtake later writes
  end
end

local meta = call('HMGET', P .. 'meta', 'layout', 'items', 'bytes', 'paused', 'shards', 'epoch_of', 'epoch_seq', 'epoch_at')
if meta[1] and meta[1] ~= LAYOUT then
  return redis.error_reply('LAYOUT ' .. meta[1])
elseif (meta[5] or '1') ~= ARGV[3] then
  for i = 5, #ARGV, 3 do
    discard_blob(ARGV[i + 1], ARGV[i + 2])
  end
  return 'R' .. struct.pack('>H', tonumber(meta[5] or 1))
elseif not meta[1] then
  call('HSET', P .. 'meta', 'layout', LAYOUT, 'shards', 1)
end
local limit_items = tonumber(meta[2]) or DEFAULT_ITEMS
local limit_bytes = tonumber(meta[3]) or DEFAULT_BYTES

local count = read_counters('last', 'items', 'bytes', 'r0', 'r1', 'r2', 'r3', 'rb', 'want_items', 'want_bytes',
  'a0', 'a1', 'a2', 'a3', 'contested',
  'acc' .. byte(ARGV[6], 1)) -- the first write's, so that a call of one write changes nothing else
local last, items, bytes = count.last, count.items, count.bytes
-- What a claim may take: flows that are set aside call nobody.
local aside_before = count.a0 + count.a1 + count.a2 + count.a3
local ready_before = count.r0 + count.r1 + count.r2 + count.r3 - aside_before
local now = clock()
if not meta[6] then
  call('HSET', P .. 'meta', 'epoch_of', server())
elseif not is_server(meta[6], replication_id()) then
  last = begin_epoch(now)
  meta[7] = nil -- what is higher than `last` is the new epoch's
end
local least = least_number(now, meta[7], meta[8])

local names, total = {}, (#ARGV - 4) / 3
for i = 1, total do
  names[i] = ARGV[2 + 3 * i]
end
local found = call('HMGET', WRITE, unpack(names))
local records, states, waiting = {}, {}, {}
for i = 1, total do
  records[names[i]] = found[i]
  if found[i] then
    waiting[#waiting + 1] = names[i]
  end
end
if #waiting > 0 then -- only a name in the queue has a history
  local histories = call('HMGET', STATE, unpack(waiting))
  for i = 1, #waiting do
    states[waiting[i]] = histories[i] and read_state(histories[i]) or nil
  end
end

local superseded = {}
if #ARGV[6] > 2 then
  if not begin_replay(ARGV[6]) then
    return redis.error_reply('LOOK again')
  end
  for i = 1, total do
    superseded[i] = is_superseded(names[i], ARGV[3 + 3 * i], records[names[i]])
  end
end

-- What goes to Redis in few calls at the end.
local lanes, fields, touched = {}, {}, {}
local function flush_lanes()
  for lane, members in pairs(lanes) do
    call('ZADD', P .. 'lane:' .. lane, unpack(members))
    lane_enter(sub(lane, 1, 1), sub(lane, 3), members.oldest, #members / 2)
  end
  lanes = {}
end

local function enter_lane(lane, key, since)
  local members = lanes[lane]
  if not members then
    members = { oldest = since }
    lanes[lane] = members
  end
  members.oldest = math.min(members.oldest, since)
  members[#members + 1] = since
  members[#members + 1] = key
end

-- A waiting name is taken from where it waits. Returns true when it may stay, because it waits in the right lane.
local function leave_place(name, key, bucket, old, state, record)
  if not old then
    return false
  end
  local stays = false
  if state and state.status == DELAYED then -- ready at once
    call('ZREM', P .. 'due', name)
    bump('delayed', -1)
  elseif state and state.status == PARKED then
    call('ZREM', P .. 'parked', name)
    bump('parked', -1)
  elseif state and state.status == ALONE then
    leave_alone(name, state)
  elseif byte(record, 17) == byte(old, 17) and tenant_of(record) == tenant_of(old) then
    bump('rb', charge_of(record) - charge_of(old))
    stays = true
  else
    if touched[name] then
      flush_lanes()
    end
    lane_remove(byte(old, 17), bucket .. '/' .. tenant_of(old), key, charge_of(old))
  end
  if state then -- attempts belong to a write, not to a name
    call('HDEL', STATE, name)
    call('HDEL', P .. 'failure', name)
    states[name] = nil
  end
  return stays
end

-- RETAIN: whether the claimed write of a name must be kept beside the one that takes its place in `write`.
local function keeps_claimed(name)
  local state = states[name]
  return state and state.status == INFLIGHT and not has(state.flags, NEWER) and is_marked(name)
end

local function accept(name, head, tail)
  last = math.max(last + 1, least)
  local id = struct.pack('>I8', last)
  local old, state = records[name], states[name]
  local in_flight = state and state.status == INFLIGHT
  local bucket, tenant = bucket_of(name), sub(tail, 2, 1 + byte(tail, 1))
  local key, priority, since, coalesced = sub(name, #bucket + 2), byte(head, 1), now, false
  local keeps = keeps_claimed(name)
  if keeps then
    call('HSET', KEPT, name, old)
  end
  if old and in_flight and not has(state.flags, NEWER) then
    state.flags = bit.bor(state.flags, NEWER)
    call('HSET', STATE, name, pack_state(state))
  elseif old then -- it waits: the newer write takes its place and its age, and the higher of the two priorities
    coalesced, since = true, struct.unpack('>I7', old, 10)
    priority = math.min(priority, byte(old, 17))
    bump('coa' .. priority, 1)
  end
  local record = '\1' .. id .. struct.pack('>I7', since) .. string.char(priority) .. sub(head, 2, 2) .. tail
  local blob = blob_at(tail, byte(head, 2), 1)
  if blob then
    call('PERSIST', P .. 'blob:' .. blob)
  end
  if not in_flight and not leave_place(name, key, bucket, old, state, record) then
    enter_lane(priority .. ':' .. bucket .. '/' .. tenant, key, since)
    bump('rb', charge_of(record))
    touched[name] = true
  end
  if old and not keeps and blob_at(old, byte(old, 18), RECORD_HEAD + 1) ~= blob then -- else the same write was put again
    release_blob(name, old, true)
  end
  records[name], fields[name] = record, record
  bump('acc' .. priority, 1)
  if #head > 2 then
    remember_replayed(name, id, head)
  end
  return id .. (coalesced and '\1' or '\0')
end

-- What a group would add, exactly, so that a full queue still takes what replaces something.
local function measure(first, size)
  local new_items, new_bytes, seen = 0, 0, {}
  for i = first, first + size - 1 do
    local at = 2 + 3 * i
    local name, tail = ARGV[at], ARGV[at + 2]
    local blob, blob_size = blob_at(tail, byte(ARGV[at + 1], 2), 1)
    if blob and not superseded[i] and call('EXISTS', P .. 'blob:' .. blob) == 0 then
      return 'm'
    end
    local charge = #tail + blob_size
    local before = seen[name] or (records[name] and charge_of(records[name]))
    if not superseded[i] then
      new_items = new_items + (before and 0 or 1)
      new_bytes = new_bytes + charge - (not seen[name] and keeps_claimed(name) and 0 or before or 0)
      seen[name] = charge
    end
  end
  return nil, new_items, new_bytes
end

local function refuse(first, size, reason, limit, current)
  for i = first, first + size - 1 do
    discard_blob(ARGV[3 + 3 * i], ARGV[4 + 3 * i])
  end
  bump('rejected_' .. (reason == 'i' and 'items' or reason == 'b' and 'bytes' or 'body'), size)
  return reason .. struct.pack('>I8I8', limit, current)
end

local answer, first = {}, 1
for at = 1, #ARGV[4], 2 do
  local size = struct.unpack('>H', ARGV[4], at)
  local missing, new_items, new_bytes = measure(first, size)
  if missing then
    answer[#answer + 1] = refuse(first, size, missing, 0, 0)
  elseif new_items > 0 and items + new_items > limit_items then
    answer[#answer + 1] = refuse(first, size, 'i', limit_items, items)
  elseif new_bytes > 0 and bytes + new_bytes > limit_bytes then
    answer[#answer + 1] = refuse(first, size, 'b', limit_bytes, bytes)
  else
    answer[#answer + 1] = 'A'
    for i = first, first + size - 1 do
      if superseded[i] then
        discard_blob(ARGV[3 + 3 * i], ARGV[4 + 3 * i])
        answer[#answer + 1] = string.rep('\0', 9)
      else
        answer[#answer + 1] = accept(names[i], ARGV[3 + 3 * i], ARGV[4 + 3 * i])
      end
    end
    items, bytes = items + new_items, bytes + new_bytes
  end
  first = first + size
end

flush_lanes()
local flat = {}
for name, record in pairs(fields) do
  flat[#flat + 1] = name
  flat[#flat + 1] = record
end
if #flat > 0 then
  call('HSET', WRITE, unpack(flat))
end
bump('last', last - count.last)
bump('items', items - count.items)
bump('bytes', bytes - count.bytes)

-- A sleeping worker is woken when its batch may be ready: the first write sets its timer, a critical one or a full
-- batch ends its sleep. While nobody sleeps, the one element stands and nothing is pushed.
local ready = ready_before
for priority = 0, 3 do
  ready = ready + (delta['r' .. priority] or 0) - (delta['a' .. priority] or 0)
end
wake_wanted = ready > 0 and not meta[4] and (ready_before == 0 or (delta['r0'] or 0) > (delta['a0'] or 0)
  or ready >= count.want_items or (aside_before == 0 and count.rb + (delta['rb'] or 0) >= count.want_bytes))
flush()
local text = table.concat(answer)
call('SET', call_key, ARGV[2] .. text, 'EX', CALL_TTL)
return text
