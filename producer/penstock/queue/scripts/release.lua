#!lua flags=allow-oom
-- Gives back the writes that a token still holds, some of them a call: at a graceful stop, or when a claim's answer was lost.
-- KEYS[1]  meta
-- ARGV[1]  token   [2] most attempts   [3] failure for a write whose attempts are spent
-- ARGV[4]  the guard's window, µs   [5…] names that may have been sent
-- Returns  {given back, superseded, dead or parked, still held: the caller goes on until nothing is}
-- Rules    REL: a write never sent goes back as if never claimed; one that may have been sent is marked, keeps its attempt
--          and is dead-lettered when they are spent (SDEAD). REARM.
-- include: clock keys counters record state enter lane mark dead alone unclaim
local STEP = 100 -- writes a call
local token, max_attempts, failure, now = ARGV[1], tonumber(ARGV[2]), ARGV[3], clock()
local mark_until, sent = now + tonumber(ARGV[4]), {}
for i = 5, #ARGV do
  sent[ARGV[i]] = true
end
local given, superseded, dead = 0, 0, 0
read_counters() -- of another layout they cannot be read, and nothing is changed yet
local held, done = call('HKEYS', P .. 'claim:' .. token), {} -- at most 1,000 and '@'
for i = 1, #held do
  local name = held[i]
  if name ~= '@' and #done < STEP then
    done[#done + 1] = name
    local state = read_state(call('HGET', STATE, name))
    if sent[name] then
      arm(name, mark_until)
    end
    if has(state.flags, NEWER) then
      promote_newer(name)
      superseded = superseded + 1
    elseif sent[name] and state.attempts >= max_attempts then
      bury(name, state, failure, now)
      dead = dead + 1
    else
      if not sent[name] then
        state.attempts = math.max(0, state.attempts - 1)
      end
      give_back(name, state)
      given = given + 1
    end
  end
end
local left = math.max(0, #held - 1 - #done)
if left > 0 then
  call('HDEL', P .. 'claim:' .. token, unpack(done))
else
  call('DEL', P .. 'claim:' .. token)
  call('ZREM', P .. 'lease', token)
end
flush()
return { given, superseded, dead, left }
