-- The history of a name: seq(8) since(7) status(1) priority(1) attempts(1) flags(1) size(4) tenant.
-- seq is the claimed write's, which the history belongs to. flags: 1 a newer write waits behind the claim,
-- 2 delete, 4 swept at least once, 8 large body; the bits above are kept for the mark.
local READY, DELAYED, INFLIGHT, PARKED = 1, 2, 3, 4
local NEWER, DELETE, SWEPT, BLOB = 1, 2, 4, 8

local function read_state(packed)
  local since, status, priority, attempts, flags, size = struct.unpack('>I7BBBBI4', packed, 9)
  return {
    id = sub(packed, 1, 8), since = since, status = status, priority = priority, attempts = attempts,
    flags = flags, size = size, tenant = sub(packed, 24),
  }
end

local function pack_state(s)
  return s.id .. struct.pack('>I7BBBBI4', s.since, s.status, s.priority, s.attempts, s.flags, s.size) .. s.tenant
end

local function has(flags, bit_value)
  return bit.band(flags, bit_value) ~= 0
end
