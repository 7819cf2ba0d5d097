-- Lanes hold what is ready. Of each lane's flow either heads and ring follow it exactly, or, while the flow is set aside,
-- the two zsets of aside.lua: so neither ever holds an empty flow, and a claim sees only what it may take.
local any_aside = {}
local function is_aside(priority, flow)
  if any_aside[priority] == nil then
    any_aside[priority] = (known['a' .. priority] or tonumber(call('HGET', COUNT, 'a' .. priority)) or 0) > 0
  end
  return any_aside[priority] and call('ZSCORE', P .. 'aside:' .. priority, flow) and true
end

-- After `added` members of this age came to a lane. Returns true when a claim may take them.
local function lane_enter(priority, flow, since, added)
  bump('r' .. priority, added)
  if is_aside(priority, flow) then
    call('ZADD', P .. 'aside:' .. priority, 'LT', since, flow)
    bump('a' .. priority, added)
    return false
  end
  if call('ZADD', P .. 'heads:' .. priority, 'LT', since, flow) == 1 then
    -- The flow's turn comes after those that wait already.
    known.turn = known.turn or tonumber(call('HGET', COUNT, 'turn')) or 0
    call('ZADD', P .. 'ring:' .. priority, 'NX', known.turn, flow)
  end
  return true
end

local function lane_add(priority, flow, key, since, size)
  call('ZADD', P .. 'lane:' .. priority .. ':' .. flow, since, key)
  bump('rb', size)
  if lane_enter(priority, flow, since, 1) then
    wake_wanted = true
  end
end

-- After members left a lane: its head moves on, or the flow leaves the rotation.
local function lane_refresh(priority, flow, aside)
  local head = call('ZRANGE', P .. 'lane:' .. priority .. ':' .. flow, 0, 0, 'WITHSCORES')
  if head[1] then
    call('ZADD', P .. (aside and 'aside:' or 'heads:') .. priority, head[2], flow)
    return true
  elseif aside then
    call('ZREM', P .. 'aside:' .. priority, flow)
    call('ZREM', P .. 'aside', flow .. priority)
    return false
  end
  call('ZREM', P .. 'heads:' .. priority, flow)
  call('ZREM', P .. 'ring:' .. priority, flow)
  return false
end

local function lane_remove(priority, flow, key, size)
  if call('ZREM', P .. 'lane:' .. priority .. ':' .. flow, key) == 1 then
    local aside = is_aside(priority, flow)
    lane_refresh(priority, flow, aside)
    bump('r' .. priority, -1)
    bump('rb', -size)
    if aside then
      bump('a' .. priority, -1)
    end
  end
end

-- A write goes (back) to its lane by what its record says: used for the newest write of a name.
local function ready_from_record(name, record)
  local bucket = bucket_of(name)
  local since = struct.unpack('>I7', record, 10)
  lane_add(byte(record, 17), bucket .. '/' .. tenant_of(record), sub(name, #bucket + 2), since, charge_of(record))
end
