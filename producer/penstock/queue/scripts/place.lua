#!lua flags=no-writes,allow-oom
-- Where an accepted write stands, or how it ended.
-- KEYS[1]  meta
-- ARGV[1]  name   [2] its sequence number (8 bytes)
--          [3] of the answer 'w' before this call its number, else the sequence number: what ended before that is not ours
--          [4], [5] of the answer 'm' before this call its two values, else '+' and '0'
--          [6] number of shards that the caller counts with
-- Returns  {'w', status (see state.lua), number (8 bytes)} it is still in the queue
--          {'d', facts (see dead.lua)}   {'s'} stored   {'p'} purged   {'u'} superseded by a newer write
--          {'m', id, '1' or '0'} over, and there is more to look through: call again
--          {'f'} over, and nothing says how: forgotten, or never accepted here
--          {'r', number of shards} it is another one than the caller counts with; 0 while it is being changed
-- Errors   LAYOUT n
-- Rules    changes nothing.
-- include: clock keys counters state settled
local PAGE = 200 -- entries of `settled` read a call: half a millisecond
local name, id, bound, cursor = ARGV[1], ARGV[2], number_of(ARGV[3]), ARGV[4]
local meta = call('HMGET', P .. 'meta', 'layout', 'shards')
if meta[1] and meta[1] ~= LAYOUT then
  return redis.error_reply('LAYOUT ' .. meta[1])
elseif (meta[2] or '1') ~= ARGV[6] then
  return { 'r', tonumber(meta[2] or 1) }
end
local seq, record, packed = number_of(id), call('HGET', WRITE, name), call('HGET', STATE, name)
local state, waits = packed and read_state(packed), record and sub(record, 2, 9)
if waits == id or state and state.id == id then
  local status = state and state.id == id and state.status or READY
  return { 'w', status, struct.pack('>I8', counter('last')) }
end
local facts = call('HGET', P .. 'dead:info', id)
if facts then
  return { 'd', facts }
end

-- A newer write of the name is what supersedes: it is in the queue, or dead, or its end is remembered.
local newest_dead = sub(call('HGET', P .. 'dead:name', name) or '', -8)
local newer = ARGV[5] == '1' or waits and number_of(waits) > seq or newest_dead ~= '' and number_of(newest_dead) > seq
local tag, reaches_back = tag_of(name), false
local entries = call('XREVRANGE', P .. 'settled', cursor, '-', 'COUNT', PAGE)
for i = 1, #entries do
  local how, seen = entries[i][2][1], entries[i][2][2]
  if number_of(seen) < bound then
    reaches_back = true
    break
  elseif find_seen(seen, id, 0, SEEN_HEAD + 1) then
    return { how }
  end
  local at = not newer and find_seen(seen, tag, 8, SEEN_HEAD + 1)
  while at and not newer do
    newer = number_of(sub(seen, at - 8, at - 1)) > seq
    at = find_seen(seen, tag, 8, at + 1)
  end
end
if not reaches_back and #entries == PAGE then
  return { 'm', '(' .. entries[PAGE][1], newer and '1' or '0' }
end
-- A stream that was never cut is shorter than its limit.
reaches_back = reaches_back or call('XLEN', P .. 'settled') < SETTLED_ENTRIES
return { newer and reaches_back and 'u' or 'f' }
