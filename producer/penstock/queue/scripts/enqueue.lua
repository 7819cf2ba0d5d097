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
-- include: clock server keys counters record enter numbers
-- To make a function costs a script more than to call one, and a string costs by its length: what few calls need is made
-- when it is needed.
local CALL_TTL = '600' -- seconds an answer is kept for a call that is sent again
-- The same for a replay's call, which is sent again until it is answered: 30 days. Each producer has one such key.
local REPLAY_TTL = '2592000'
local argv = ARGV

-- The large body of a write that is refused; one without an expiry belongs to a write that was accepted before.
local function discard_blob(head, tail)
  local blob = blob_at(tail, byte(head, 2), 1)
  if blob and call('TTL', P .. 'blob:' .. blob) > 0 then
    call('UNLINK', P .. 'blob:' .. blob)
  end
end

local call_key = P .. 'call:' .. argv[1]
local read = call('MGET', call_key, COUNT)
local is_spooled = #argv[6] > 2
local call_ttl = is_spooled and REPLAY_TTL or CALL_TTL
local answered = read[1]
if answered then
  local number = number_of(answered)
  if number == number_of(argv[2]) then
    -- Never sooner than it was to: a replay's call may be met by its producer's own, which comes late. A write in any
    -- case, or a WAIT behind the call would have nothing to wait for.
    call('EXPIRE', call_key, math.max(tonumber(call_ttl), call('TTL', call_key)))
    return sub(answered, 9)
  elseif number > number_of(argv[2]) then
    return 'O' -- a request that was given up on and arrives late must not overtake later writes
  end
end

local meta = call('HMGET', P .. 'meta', 'layout', 'items', 'bytes', 'paused', 'shards', 'epoch_of', 'epoch_seq', 'epoch_at')
if meta[1] and meta[1] ~= LAYOUT then
  return redis.error_reply('LAYOUT ' .. meta[1])
elseif (meta[5] or '1') ~= argv[3] then
  for i = 5, #argv, 3 do
    discard_blob(argv[i + 1], argv[i + 2])
  end
  return 'R' .. struct.pack('>H', tonumber(meta[5] or 1))
elseif not meta[1] then
  call('HSET', P .. 'meta', 'layout', LAYOUT, 'shards', 1)
end
local limit_items = tonumber(meta[2]) or DEFAULT_ITEMS
local limit_bytes = tonumber(meta[3]) or DEFAULT_BYTES

know(read[2])
local count, now, now_text = counts, clock()
if not meta[6] then
  call('HSET', P .. 'meta', 'epoch_of', server())
elseif not is_server(meta[6], replication_id()) then
  -- include: epoch
  begin_epoch(now)
  meta[7] = nil -- what is higher than `last` is the new epoch's
end
local least = least_number(now, meta[7], meta[8])
-- What a claim may take: flows that are set aside call nobody.
local aside_before = count.a0 + count.a1 + count.a2 + count.a3
local ready_before = count.r0 + count.r1 + count.r2 + count.r3 - aside_before
local urgent_before = count.r0 - count.a0

local names, total = {}, (#argv - 4) / 3
for i = 1, total do
  names[i] = argv[2 + 3 * i]
end
local found = call('HMGET', WRITE, unpack(names))
local records, waiting = {}, nil
for i = 1, total do
  if found[i] then
    waiting = waiting or {}
    waiting[#waiting + 1], records[names[i]] = names[i], found[i]
  end
end

-- What goes to Redis in few calls at the end. Lanes by priority, as a digit, and flow; `entering`: names that are in them.
local lanes, fields, entering = {}, {}, {}
local function flush_lanes()
  for digit, flows in pairs(lanes) do
    for flow, members in pairs(flows) do
      call('ZADD', P .. 'lane:' .. digit .. ':' .. flow, unpack(members))
      lane_enter(digit, flow, members.oldest, #members / 2)
    end
  end
  lanes = {}
end

-- For names with a history, which only a name in the queue has. `keeps_claimed`, RETAIN: whether the claimed write must be
-- kept beside the one that takes its place in `write`. `leave`: a waiting write is taken from where it waits, except from
-- its lane; tells whether the name is in flight, whether a write of it waits, and whether that is still in its lane.
local histories, any, keeps_claimed, leave = waiting and call('HMGET', STATE, unpack(waiting)) or {}, false, nil, nil
for i = 1, #histories do
  any = any or histories[i]
end
if any then
  -- include: state mark alone
  local states = {}
  for i = 1, #waiting do
    states[waiting[i]] = histories[i] and read_state(histories[i]) or nil
  end

  function keeps_claimed(name)
    local state = states[name]
    return state and state.status == INFLIGHT and not has(state.flags, NEWER) and is_marked(name)
  end

  function leave(name)
    local state = states[name]
    if not state then
      return false, true, true
    elseif state.status == INFLIGHT then
      local newer = has(state.flags, NEWER)
      if not newer then
        state.flags = bit.bor(state.flags, NEWER)
        call('HSET', STATE, name, pack_state(state))
      end
      return true, newer, false
    elseif state.status == DELAYED then -- ready at once
      call('ZREM', P .. 'due', name)
      bump('delayed', -1)
    elseif state.status == PARKED then
      call('ZREM', P .. 'parked', name)
      bump('parked', -1)
    elseif state.status == ALONE then
      leave_alone(name, state)
    end
    states[name] = nil -- attempts belong to a write, not to a name
    call('HDEL', STATE, name)
    call('HDEL', P .. 'failure', name)
    return false, true, state.status == READY
  end
end

local superseded, remember_replayed = {}, nil
if is_spooled then
  -- include: settled spooled
  if not begin_replay(argv[6]) then
    return redis.error_reply('LOOK again')
  end
  for i = 1, total do
    superseded[i] = is_superseded(names[i], argv[3 + 3 * i], records[names[i]])
  end
  remember_replayed = remember_as_replayed
end

local answer, accepted, since_now, first = {}, {}, struct.pack('>I7', now), 1
for at = 1, #argv[4], 2 do
  local beyond = first + struct.unpack('>H', argv[4], at)

  -- What a group would add, exactly, so that a full queue still takes what replaces something.
  local new_items, new_bytes, charges, gone = 0, 0, {}, false
  for i = first, beyond - 1 do
    local name, tail = names[i], argv[4 + 3 * i]
    local blob, blob_size = blob_at(tail, byte(argv[3 + 3 * i], 2), 1)
    gone = gone or blob and not superseded[i] and call('EXISTS', P .. 'blob:' .. blob) == 0
    if not superseded[i] then
      local charge, before = #tail + blob_size, charges[name] or records[name] and charge_of(records[name])
      local keeps = before and keeps_claimed and not charges[name] and keeps_claimed(name)
      new_items = new_items + (before and 0 or 1)
      new_bytes = new_bytes + charge - (not keeps and before or 0)
      charges[name] = charge
    end
  end

  local reason, limit, current
  if gone then
    reason, limit, current = 'm', 0, 0
  elseif new_items > 0 and count.items + new_items > limit_items then
    reason, limit, current = 'i', limit_items, count.items
  elseif new_bytes > 0 and count.bytes + new_bytes > limit_bytes then
    reason, limit, current = 'b', limit_bytes, count.bytes
  end
  if reason then
    for i = first, beyond - 1 do
      discard_blob(argv[3 + 3 * i], argv[4 + 3 * i])
    end
    bump('rejected_' .. (reason == 'i' and 'items' or reason == 'b' and 'bytes' or 'body'), beyond - first)
    answer[#answer + 1] = reason .. struct.pack('>I8I8', limit, current)
  else
    answer[#answer + 1] = 'A'
    count.items, count.bytes = count.items + new_items, count.bytes + new_bytes
  end

  for i = first, reason and 0 or beyond - 1 do
    local name, head, tail = names[i], argv[3 + 3 * i], argv[4 + 3 * i]
    local blob, blob_size = blob_at(tail, byte(head, 2), 1)
    if superseded[i] then
      discard_blob(head, tail)
      answer[#answer + 1] = '\0\0\0\0\0\0\0\0\0'
    else
      count.last = math.max(count.last + 1, least)
      local id, old, slash = struct.pack('>I8', count.last), records[name], string.find(name, '/', 1, true)
      local tenant, charge, priority = sub(tail, 2, 1 + byte(tail, 1)), #tail + blob_size, byte(head, 1)
      local flow, key = sub(name, 1, slash) .. tenant, sub(name, slash + 1)
      local in_flight, waits, in_lane, keeps = false, old, old, keeps_claimed and keeps_claimed(name)
      if keeps then
        call('HSET', P .. 'kept', name, old)
      end
      if old and leave then
        in_flight, waits, in_lane = leave(name)
      end
      local since, age, score = since_now, now, now_text
      if waits then -- the newer write takes its place and its age, and the higher of the two priorities
        since, age = sub(old, 10, 16), struct.unpack('>I7', old, 10)
        score = age
        priority = math.min(priority, byte(old, 17))
        bump('coa' .. priority, 1)
      end
      local digit = string.char(48 + priority)
      if blob then
        call('PERSIST', P .. 'blob:' .. blob)
      end
      local enters = not in_flight
      if in_lane and byte(old, 17) == priority and tenant_of(old) == tenant then
        enters = false
        count.rb = count.rb + charge - charge_of(old)
      elseif in_lane then
        -- include: lane
        if entering[name] then
          flush_lanes()
        end
        lane_remove(byte(old, 17), sub(name, 1, slash) .. tenant_of(old), key, charge_of(old))
      end
      if enters then
        local flows = lanes[digit] or {}
        local members = flows[flow] or { age = age, oldest = score }
        lanes[digit], flows[flow], entering[name] = flows, members, true
        if age < members.age then
          members.age, members.oldest = age, score
        end
        members[#members + 1] = score
        members[#members + 1] = key
        count.rb = count.rb + charge
      end
      local old_blob = old and not keeps and blob_at(old, byte(old, 18), RECORD_HEAD + 1)
      if old_blob and old_blob ~= blob then -- else the same write was put again
        -- include: mark
        release_blob(name, old, true)
      end
      local record = '\1' .. id .. since .. string.char(priority) .. sub(head, 2, 2) .. tail
      records[name], accepted[digit] = record, (accepted[digit] or 0) + 1
      fields[#fields + 1] = name
      fields[#fields + 1] = record
      answer[#answer + 1] = id .. (waits and '\1' or '\0')
      if remember_replayed then
        remember_replayed(name, id, head)
      end
    end
  end
  first = beyond
end

flush_lanes()
if #fields > 0 then
  call('HSET', WRITE, unpack(fields))
end
for digit, writes in pairs(accepted) do
  bump('acc' .. digit, writes)
end

-- A sleeping worker is woken when its batch may be ready: the first write sets its timer, a critical one or a full
-- batch ends its sleep. While nobody sleeps, the one element stands and nothing is pushed.
local aside = count.a0 + count.a1 + count.a2 + count.a3
local ready = count.r0 + count.r1 + count.r2 + count.r3 - aside
wake_wanted = ready > 0 and not meta[4] and (ready_before == 0 or count.r0 - count.a0 > urgent_before
  or ready >= count.want_items or (aside_before == 0 and count.rb >= count.want_bytes))
flush()
local text = table.concat(answer)
call('SET', call_key, argv[2] .. text, 'EX', call_ttl)
return text
