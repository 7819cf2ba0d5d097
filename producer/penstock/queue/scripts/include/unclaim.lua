-- What happens to the claimed write of a name when its claim ends.

-- The claimed write is stored or superseded: the newer one takes the name, its attempts start again.
local function promote_newer(name)
  drop_kept(name)
  call('HDEL', STATE, name)
  call('HDEL', P .. 'failure', name)
  bump('inflight', -1)
  ready_from_record(name, call('HGET', WRITE, name))
end

local function make_ready(name, state)
  if has(state.flags, SWEPT) then
    return enter_alone(name, state)
  end
  state.status = READY
  call('HSET', STATE, name, pack_state(state))
  local bucket = bucket_of(name)
  lane_add(state.priority, bucket .. '/' .. state.tenant, sub(name, #bucket + 2), state.since, state.size)
end

-- The claimed write is ready again, in its old place.
local function give_back(name, state)
  bump('inflight', -1)
  make_ready(name, state)
end
