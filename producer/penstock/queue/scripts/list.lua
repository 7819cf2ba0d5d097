#!lua flags=no-writes,allow-oom
-- One page of the writes in the queue, without their bodies.
-- KEYS[1]  meta
-- ARGV[1]  source: 'write' all and 'state' those with a history, both in no order and each at least once; 'due', 'parked'
--          and 'lane:P:FLOW' in their order; 'lease' claim by claim; 'names' those given
-- ARGV[2]  cursor, '0' to begin   [3] writes a page, about   [4…] the names; of a lane, its bucket and a slash
-- Returns  {next cursor, '0' at the end; per write: name, record up to its body, length of the record, history or '',
--          failure or '', due time or ''}
-- Rules    changes nothing.
-- include: clock keys record state
local source, cursor, count = ARGV[1], ARGV[2], tonumber(ARGV[3])
local names, records, reply = {}, {}, { '0' }

local function page_of(key, before)
  local first = tonumber(cursor)
  names = call('ZRANGE', P .. key, first, first + count - 1)
  reply[1] = #names == count and string.format('%d', first + count) or '0'
  for i = 1, #names do
    names[i] = before .. names[i]
  end
end

if source == 'names' then
  for i = 4, #ARGV do
    names[#names + 1] = ARGV[i]
  end
elseif source == 'write' or source == 'state' then
  local page = call('HSCAN', P .. source, cursor, 'COUNT', count)
  reply[1] = page[1]
  for i = 1, #page[2], 2 do
    names[#names + 1] = page[2][i]
    records[page[2][i]] = source == 'write' and page[2][i + 1] or nil
  end
elseif source == 'lease' then
  local token = call('ZRANGE', P .. 'lease', cursor, cursor)[1]
  if token then
    reply[1] = string.format('%d', cursor + 1)
    names = call('HKEYS', P .. 'claim:' .. token) -- at most 1,000 and '@', which has no record
  end
else
  page_of(source, ARGV[4] or '')
end

-- A record without its body. All up to the header stays as it is in every version.
local function frame_of(record)
  local id, at = blob_at(record, byte(record, 18), RECORD_HEAD + 1), RECORD_HEAD + 2 + byte(record, RECORD_HEAD + 1)
  if id then
    at = at + 1 + #id + 4
  end
  return sub(record, 1, at + 33 + struct.unpack('>H', record, at + 32))
end

for i = 1, #names do
  local name = names[i]
  local record = records[name] or call('HGET', WRITE, name)
  if record then
    reply[#reply + 1] = name
    reply[#reply + 1] = frame_of(record)
    reply[#reply + 1] = #record
    reply[#reply + 1] = call('HGET', STATE, name) or ''
    reply[#reply + 1] = call('HGET', P .. 'failure', name) or ''
    reply[#reply + 1] = call('ZSCORE', P .. 'due', name) or ''
  end
end
return reply
