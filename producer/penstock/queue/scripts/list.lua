#!lua flags=no-writes,allow-oom
-- One page of the writes in the queue, without their bodies.
-- KEYS[1]  meta
-- ARGV[1]  source: 'write' all and 'state' those with a history, both in no order and each at least once; 'due', 'parked',
--          'alone' and 'lane:P:FLOW' in their order, each at least once; 'lease' claim by claim; 'contested' those that are
--          marked, idle ones too, by the guard's next look; 'names' those given
-- ARGV[2]  cursor of the page before, '0' to begin   [3] writes a page, about   [4…] the names; of a lane, its bucket and a slash
-- Returns  {next cursor, '0' at the end; per write: name, record up to its body, length of the record, history or '',
--          failure or '', due time or '', time of the guard's next look or '' without a mark, 1 when it is idle}.
--          Of an idle name, record and length are those of what is retained, or '' and 0.
-- Rules    changes nothing.
-- include: clock keys counters record state mark
local SCAN_STEP = 10 -- of what is scanned at once; Redis 7.0 counts values too and gives half
local source, cursor, count = ARGV[1], ARGV[2], tonumber(ARGV[3])
local names, records, reply = {}, nil, { '0' }

-- The next members of a sorted set. The cursor is the last one with its score: by rank alone, what leaves the front would
-- hide what follows. One that has left or moved is looked for by its score, and its equals are shown once more.
local function page_of(key, most)
  local first, score, member = 0, string.match(cursor, '^(%S+) (.*)$')
  if member and call('ZSCORE', P .. key, member) == score then
    first = call('ZRANK', P .. key, member) + 1
  elseif member then
    first = call('ZCOUNT', P .. key, '-inf', '(' .. score)
  end
  local found, members = call('ZRANGE', P .. key, first, first + most - 1, 'WITHSCORES'), {}
  for i = 1, #found, 2 do
    members[#members + 1] = found[i]
  end
  if #members == most then
    reply[1] = found[#found] .. ' ' .. members[most]
  end
  return members
end

if source == 'names' then
  for i = 4, #ARGV do
    names[#names + 1] = ARGV[i]
  end
elseif source == 'write' or source == 'state' then
  reply[1], records = cursor, source == 'write' and {} or nil
  -- A hash that has lost most of its fields is slow to scan for as long as Redis has not shrunk it: what then finds hardly
  -- anything is not called again.
  repeat
    local page, before = call('HSCAN', P .. source, reply[1], 'COUNT', SCAN_STEP), #names
    reply[1] = page[1]
    for i = 1, #page[2], 2 do
      names[#names + 1] = page[2][i]
      if records then
        records[#records + 1] = page[2][i + 1]
      end
    end
  until reply[1] == '0' or #names >= count or #names - before < SCAN_STEP / 2
elseif source == 'lease' then
  local token = page_of('lease', 1)[1]
  names = token and call('HKEYS', P .. 'claim:' .. token) or {} -- at most 1,000 and '@', which has no record
else
  local before = ARGV[4] or ''
  names = page_of(source, count)
  for i = 1, #names do
    names[i] = before .. names[i]
  end
end

-- A record without its body. All up to the header stays as it is in every version.
local function frame_of(record)
  local id, at = blob_at(record, byte(record, 18), RECORD_HEAD + 1), RECORD_HEAD + 2 + byte(record, RECORD_HEAD + 1)
  if id then
    at = at + 1 + #id + 4
  end
  return sub(record, 1, at + 33 + struct.unpack('>H', record, at + 32))
end

if #names == 0 then
  return reply
end
-- One command each for the whole page: at most a claim's thousand, far below what unpack bears.
records = records or call('HMGET', WRITE, unpack(names))
local histories, failures = call('HMGET', STATE, unpack(names)), call('HMGET', P .. 'failure', unpack(names))
local times = call('ZMSCORE', P .. 'due', unpack(names))
local looks = any_marked() and call('ZMSCORE', P .. 'contested', unpack(names)) or {}
for i = 1, #names do
  local record, idle = records[i], 0
  if looks[i] and not record then
    record, idle = call('HGET', RETAINED, names[i]) or '', 1
  end
  if record then
    reply[#reply + 1] = names[i]
    reply[#reply + 1] = record == '' and '' or frame_of(record)
    reply[#reply + 1] = #record
    reply[#reply + 1] = histories[i] or ''
    reply[#reply + 1] = sub(failures[i] or '', 9)
    reply[#reply + 1] = times[i] or ''
    reply[#reply + 1] = looks[i] or ''
    reply[#reply + 1] = idle
  end
end
return reply
