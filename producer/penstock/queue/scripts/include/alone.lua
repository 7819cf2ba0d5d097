-- ALONE: a write that was swept once or more may be what killed its worker. It waits apart from the lanes, in
-- alone  zset  name -> since
-- and is claimed only by a process that holds no other claim, and by itself. Counted in l0 … l3, by priority.
local function enter_alone(name, state)
  state.status = ALONE
  call('HSET', STATE, name, pack_state(state))
  call('ZADD', P .. 'alone', state.since, name)
  bump('l' .. state.priority, 1)
  wake_wanted = true
end

local function leave_alone(name, state)
  call('ZREM', P .. 'alone', name)
  bump('l' .. state.priority, -1)
end

local function any_alone()
  return counter('l0') + counter('l1') + counter('l2') + counter('l3') > 0
end
