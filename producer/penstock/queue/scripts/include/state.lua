-- The history of a name: seq(8) since(7) status(1) priority(1) attempts(1) flags(1) size(4) tenant.
-- seq is the claimed write's, which the history belongs to. flags: 1 a newer write waits behind the claim,
-- 2 delete, 4 swept at least once, 8 large body. status ALONE: ready, but apart from the lanes (see alone.lua).
local READY, DELAYED, INFLIGHT, PARKED, ALONE = 1, 2, 3, 4, 5
local NEWER, DELETE, SWEPT, BLOB = 1, 2, 4, 8

local function read_state(packed)
  local since, status, priority, attempts, flags, size = struct.unpack('>I7BBBBI4', packed, 9)
  return {
    id = sub(packed, 1, 8), since = since, status = status, priority = priority, attempts = attempts,
    flags = flags, size = size, tenant = sub(packed, 24),
  }
end

local function flags_and_size(packed)
  local flags, size = struct.unpack('>BI4', packed, 19)
  return flags, size
end

local function pack_state(s)
  return s.id .. struct.pack('>I7BBBBI4', s.since, s.status, s.priority, s.attempts, s.flags, s.size) .. s.tenant
end

local function has(flags, bit_value)
  return bit.band(flags, bit_value) ~= 0
end

local function flags_of(record)
  local kind = byte(record, 18)
  return (has(kind, 1) and DELETE or 0) + (has(kind, 2) and BLOB or 0)
end

-- The history of a waiting write; one that was never claimed has none yet.
local function history_of(record, packed, priority, size)
  if packed then
    return read_state(packed)
  end
  return { id = sub(record, 2, 9), since = struct.unpack('>I7', record, 10), status = READY, priority = priority,
    attempts = 0, flags = flags_of(record), size = size, tenant = tenant_of(record) }
end

-- The packed history of a waiting write that is being claimed. The first claim, by far the most frequent, takes number and
-- age from the record as they are.
local function history_claimed(record, packed, priority, size)
  if not packed then
    return sub(record, 2, 16) .. struct.pack('>BBBBI4', INFLIGHT, priority, 1, flags_of(record), size) .. tenant_of(record)
  end
  local state = read_state(packed)
  state.status, state.attempts = INFLIGHT, math.min(state.attempts + 1, 255)
  return pack_state(state)
end
