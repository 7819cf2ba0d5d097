#!lua flags=allow-oom
-- Takes back expired leases, makes delayed writes ready whose time has come, and brings back flows whose block ended.
-- KEYS[1]  meta
-- ARGV[1]  most attempts   [2] most writes a call   [3] failure for a write whose attempts are spent
-- ARGV[4]  the guard's window, µs: how long a request of a dead worker may still land
-- Returns  {ms until the next is due or -1, made ready, taken back, dead or parked, 1 when there is more now}
-- Rules    SWEEP, REARM: every write taken back is marked. SDEAD: a write whose attempts are spent is dead-lettered here.
--          ALONE: a swept write is flagged, and waits apart from the lanes.
-- include: clock keys counters record state enter lane mark dead alone unclaim aside
local WHOLE = 50 -- writes of a claim that is taken back whole
local max_attempts, limit, failure, now = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], clock()
local mark_until = now + tonumber(ARGV[4])
local due, back, dead = 0, 0, 0
read_counters() -- of another layout they cannot be read, and nothing is changed yet

local names = call('ZRANGEBYSCORE', P .. 'due', '-inf', now, 'LIMIT', 0, limit)
for i = 1, #names do
  local name = names[i]
  call('ZREM', P .. 'due', name)
  bump('delayed', -1)
  make_ready(name, read_state(call('HGET', STATE, name)))
  due = due + 1
end

local function take_back(name)
  local state = read_state(call('HGET', STATE, name))
  back = back + 1
  arm(name, mark_until)
  if has(state.flags, NEWER) then
    promote_newer(name)
  elseif state.attempts >= max_attempts then
    bury(name, state, failure, now)
    dead = dead + 1
  else
    state.flags = bit.bor(state.flags, SWEPT)
    give_back(name, state)
  end
end

-- Of a large claim a part is taken back, when the limit says so: what was taken has left it, and it cannot be renewed.
while due + back < limit do
  local token = call('ZRANGEBYSCORE', P .. 'lease', '-inf', now, 'LIMIT', 0, 1)[1]
  if not token then
    break
  end
  local claim, taken = P .. 'claim:' .. token, {}
  local held = call('HKEYS', claim) -- at most 1,000 and '@'
  local most = #held > WHOLE and limit - due - back or #held
  for i = 1, #held do
    if held[i] ~= '@' and #taken < most then
      take_back(held[i])
      taken[#taken + 1] = held[i]
    end
  end
  if #taken < #held - 1 then
    call('HDEL', claim, unpack(taken))
    call('HSET', claim, '@', 0)
  else
    call('DEL', claim)
    call('ZREM', P .. 'lease', token)
  end
end

-- Parked writes move on as soon as the dead letters make room. One that does not fit holds up no others: it may be larger
-- than the dead letters' limit. When there are more than this call looks at, it goes behind them.
local moved, beyond = 0, counter('parked') > limit
if counter('parked') > 0 and room_for_dead(1) then
  local parked = call('ZRANGE', P .. 'parked', 0, limit - 1)
  for i = 1, #parked do
    local name = parked[i]
    local state = read_state(call('HGET', STATE, name))
    if bury(name, state, sub(call('HGET', P .. 'failure', name), 9), now) == 'd' then
      call('ZREM', P .. 'parked', name)
      moved = moved + 1
    elseif beyond then
      call('ZADD', P .. 'parked', 'GT', now, name)
    end
  end
end

-- Who ended a block may have died before all was done.
end_blocks(limit)
local ending = call('EXISTS', P .. 'ending') == 1

local function first_of(key)
  return tonumber(call('ZRANGE', P .. key, 0, 0, 'WITHSCORES')[2])
end

local next_due, next_lease = first_of('due'), first_of('lease')
local soonest = math.min(next_due or math.huge, next_lease or math.huge)
flush()
return {
  soonest < math.huge and math.max(0, math.ceil((soonest - now) / 1000)) or -1,
  due, back, dead + moved, (soonest <= now or ending or moved > 0 and beyond) and 1 or 0,
}
