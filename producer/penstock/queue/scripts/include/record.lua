-- A record: version(1) seq(8) since(7) priority(1) flags(1), all written by the scripts, then the producer's tail:
-- tenant length(1) tenant, for a large body: id length(1) id size(4), then header length(2) header, inline body.
-- flags: 1 delete, 2 large body under blob:ID. All up to the header stays as it is in every version, so that a write of
-- a newer version can be moved about without being understood.
local WIRE_VERSION, RECORD_HEAD = 1, 18

-- The large body's id and size, or nil and 0. `at` is where the tail begins: 19 in a record, 1 in a tail.
local function blob_at(text, flags, at)
  if bit.band(flags, 2) == 0 then
    return nil, 0
  end
  at = at + 1 + byte(text, at)
  local length = byte(text, at)
  return sub(text, at + 1, at + length), struct.unpack('>I4', text, at + 1 + length)
end

local function tenant_of(record)
  return sub(record, 20, 19 + byte(record, 19))
end

-- What a write counts against the limits: its tail and its large body.
local function charge_of(record)
  local _, size = blob_at(record, byte(record, 18), RECORD_HEAD + 1)
  return #record - RECORD_HEAD + size
end

-- Takes a large body away; without an id there is none. To give memory back takes Redis some 0.1 ms a MiB, UNLINK or not,
-- because a string is never freed in the background. So a call frees FREE_BYTES at once, or one body, and has Redis expire
-- the rest by itself: as much every FREE_MS, the interval at which it looks for what has expired.
local FREE_BYTES, FREE_MS, freed = 16777216, 100, 0
local function drop_blob(id, size)
  freed = freed + size
  if not id then
    return
  elseif freed <= FREE_BYTES or freed == size then
    call('UNLINK', P .. 'blob:' .. id)
  else
    call('PEXPIRE', P .. 'blob:' .. id, math.ceil(freed / FREE_BYTES * FREE_MS))
  end
end
