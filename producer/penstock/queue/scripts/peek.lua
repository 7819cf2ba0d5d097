#!lua flags=no-writes,allow-oom
-- The first bytes of the body of a name's newest write.
-- KEYS[1]  meta
-- ARGV[1]  name   [2] most bytes
-- Returns  {the bytes, or false without such a write, length of the body}
-- Rules    changes nothing.
-- include: clock keys record
local record, most = call('HGET', WRITE, ARGV[1]), tonumber(ARGV[2])
if not record then
  return { false, 0 }
end
local id, size = blob_at(record, byte(record, 18), RECORD_HEAD + 1)
if id then
  return { call('GETRANGE', P .. 'blob:' .. id, 0, most - 1), size }
end
local at = RECORD_HEAD + 2 + byte(record, RECORD_HEAD + 1)
at = at + 34 + struct.unpack('>H', record, at + 32)
return { sub(record, at, at + most - 1), #record - at + 1 }
