-- How writes left the queue lately, for whoever waits for one: `settled`, a stream whose entries hold one field, named
-- 's' (stored), 'p' (purged) or 'u' (superseded by a write that Redis forgot), with the queue's last sequence number
-- then(8), and per write its own(8) and its name's tag(16). By the last number a reader sees whether an entry is older than
-- the write it looks for, without a clock.
local SETTLED_ENTRIES = 5000 -- about: 7 MB with batches of 50, and 14 MB at the most
local WRITES_AN_ENTRY = 100
local SEEN_HEAD, SEEN_SIZE = 8, 24

local sha1hex = redis.sha1hex

-- 64 bits: by a tag that another name has too, a replayed write would be taken for superseded (see spooled.lua).
local function tag_of(name)
  return sub(sha1hex(name), 1, 16)
end

-- What is kept of a write whose number is `id`.
local function seen_of(id, name)
  return id .. tag_of(name)
end

-- `ended` holds what seen_of made of each write.
local function remember(how, ended)
  for first = 1, #ended, WRITES_AN_ENTRY do
    local last = struct.pack('>I8', counter('last'))
    local seen = last .. table.concat(ended, '', first, math.min(first + WRITES_AN_ENTRY - 1, #ended))
    call('XADD', P .. 'settled', 'MAXLEN', '~', SETTLED_ENTRIES, '*', how, seen)
  end
end

-- Where one of the two parts of a write begins in an entry; `offset` is 0 for its number, 8 for its tag.
local function find_seen(entry, part, offset, from)
  local at = string.find(entry, part, from, true)
  while at and (at - 1 - SEEN_HEAD) % SEEN_SIZE ~= offset do
    at = string.find(entry, part, at + 1, true)
  end
  return at
end
