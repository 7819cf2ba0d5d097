-- Spooled writes: a host accepted them while Redis was away, and sends them now. The head of one goes on behind its flags:
--   after(8)  when it was accepted, at the earliest, by Redis's clock, µs
--   floor(8)  the highest number of which its host knows that it is of an older write
--   ended(8)  the highest number of its name that `settled` told its sender, or 0
--   then the id of the last entry of `settled` that the sender has read
-- It is superseded, and gets no number, when a newer write of its name is known: one that waits, is claimed, retained or
-- dead, or that `settled` remembers. Whatever else ended is forgotten: then the last one replayed wins.
-- replayed  hash  name -> seq(8) after(8): a replayed write's number is of today, its time is not. Of two hosts' spooled
-- writes the first one replayed wins when this is forgotten and the write is not: it is taken for as new as its number.
local REPLAYED_TTL = 86400   -- seconds after the last replay; hosts that were cut off together replay together
local REPLAYED_NAMES = 100000 -- about 13 MB; further names are not remembered
local SETTLED_LATELY = 100   -- entries that may be new since the sender looked: a few ms

local ended_lately, epochs, replayed_names

-- When a write with this number was accepted, µs.
local function time_of(seq)
  local latest = math.huge -- an older epoch's numbers were given before the next one began
  for at = #epochs - 31, 1, -32 do
    local first, began = tonumber(sub(epochs, at, at + 15)), tonumber(sub(epochs, at + 16, at + 31))
    if seq > first then
      return math.min(seq, latest, began + CATCH_UP * (seq - first))
    end
    latest = math.min(latest, began)
  end
  return math.min(seq, latest)
end

-- What ended since the sender has looked, by tag. Nil when that is too much: it has to look again.
local function read_lately(id)
  local newest, entries = {}, call('XREVRANGE', P .. 'settled', '+', '(' .. id, 'COUNT', SETTLED_LATELY)
  for i = 1, #entries do
    local seen = entries[i][2][2]
    for at = SEEN_HEAD + 1, #seen, SEEN_SIZE do
      local tag, seq = sub(seen, at + 8, at + SEEN_SIZE - 1), (struct.unpack('>I8', seen, at))
      newest[tag] = math.max(newest[tag] or 0, seq)
    end
  end
  return #entries < SETTLED_LATELY and newest or nil
end

-- Must come before `is_superseded`. Returns false when the sender has to look again.
local function begin_replay(head)
  epochs = call('HGET', P .. 'meta', 'epochs') or ''
  ended_lately = read_lately(sub(head, 27))
  return ended_lately ~= nil
end

local function is_superseded(name, head, record)
  local after, floor, newest = struct.unpack('>I8I8I8', head, 3)
  local history, retained = call('HGET', STATE, name), call('HGET', P .. 'retained', name)
  local letters = call('HGET', P .. 'dead:name', name)
  newest = math.max(newest, ended_lately[tag_of(name)] or 0, record and number_of(sub(record, 2, 9)) or 0,
    history and number_of(sub(history, 1, 8)) or 0, retained and number_of(sub(retained, 2, 9)) or 0,
    letters and number_of(sub(letters, -8)) or 0)
  if newest <= floor then
    return false
  end
  local replayed = call('HGET', P .. 'replayed', name)
  if replayed and number_of(sub(replayed, 1, 8)) == newest then
    return number_of(sub(replayed, 9)) > after
  end
  return time_of(newest) > after
end

local function remember_as_replayed(name, id, head)
  replayed_names = replayed_names or call('HLEN', P .. 'replayed')
  if replayed_names < REPLAYED_NAMES then
    replayed_names = replayed_names + call('HSET', P .. 'replayed', name, id .. sub(head, 3, 10))
    call('EXPIRE', P .. 'replayed', REPLAYED_TTL)
  end
end
