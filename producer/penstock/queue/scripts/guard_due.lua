#!lua flags=allow-oom
-- What the guard should look at now: idle names whose mark is due. Those with nothing retained need no look: their mark is
-- taken off here. Each name handed out is put off, so that no other guard looks at the same time. One of a bucket that this
-- guard may not use is put off by a moment, so that it stands in nobody's way, and soon is there for a guard that may.
-- KEYS[1]  meta
-- ARGV[1]  most names a call   [2] µs until a name handed out is due again   [3] the same for a name that is busy
--          [4] the same for a name of another bucket   [5] the caller's time, µs, or ''   [6] µs by which it may differ
--          [7…] the buckets whose objects it may look at; without any, all
-- Returns  {ms until the next is due that it may look at or -1 (seen as far as AHEAD reaches), 0 when there may be more
--          now; marks taken off, names of other buckets, per name: name, generation (8 bytes), sequence number (8 bytes) of
--          the retained write, 1 for a delete}; {} when the clocks differ by more: then nothing was done
-- Errors   LAYOUT n
-- Rules    CAS: only a due mark of an idle name.
-- include: clock keys counters record mark
local AHEAD = 1000 -- names that a guard with a list of buckets looks through for its next one
local limit, hold, busy, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), clock()
local layout = call('HGET', P .. 'meta', 'layout')
if layout and layout ~= LAYOUT then
  return redis.error_reply('LAYOUT ' .. layout)
end
-- Here, not in a call before this one: another server may just have taken over whose clock is ahead.
if ARGV[5] ~= '' and math.abs(now - ARGV[5]) > tonumber(ARGV[6]) then
  return {}
end
local allowed = #ARGV == 6 and true or {}
for i = 7, #ARGV do
  allowed[ARGV[i]] = true
end

local function is_allowed(name)
  return allowed == true or allowed[bucket_of(name)]
end

-- Not by what others may look at: a guard that woke for that would be there first each time, and put it off.
local function soonest()
  local ahead = call('ZRANGE', P .. 'contested', 0, allowed == true and 0 or AHEAD - 1, 'WITHSCORES')
  for i = 1, #ahead, 2 do
    if is_allowed(ahead[i]) then
      return math.max(0, math.ceil((ahead[i + 1] - now) / 1000))
    end
  end
  return -1
end

local cleared, others, reply = 0, 0, {}
local names = call('ZRANGEBYSCORE', P .. 'contested', '-inf', now, 'LIMIT', 0, limit)
for i = 1, #names do
  local name = names[i]
  if call('HEXISTS', WRITE, name) == 1 then
    call('ZADD', P .. 'contested', now + busy, name)
  elseif call('HEXISTS', RETAINED, name) == 0 then
    clear_mark(name)
    cleared = cleared + 1
  elseif not is_allowed(name) then
    call('ZADD', P .. 'contested', now + ARGV[4], name)
    others = others + 1
  else
    local retained = call('HGET', RETAINED, name)
    call('ZADD', P .. 'contested', now + hold, name)
    reply[#reply + 1] = name
    reply[#reply + 1] = sub(call('HGET', MARK, name), 8)
    reply[#reply + 1] = sub(retained, 2, 9)
    reply[#reply + 1] = byte(retained, 18) % 2
  end
end
local wait = #names < limit and soonest() or 0
flush()
return { wait, cleared, others, unpack(reply) }
