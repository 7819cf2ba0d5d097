-- Lanes hold what is ready; heads and ring follow them exactly, so neither ever holds an empty flow.
local function lane_add(priority, flow, key, since, size)
  call('ZADD', P .. 'lane:' .. priority .. ':' .. flow, since, key)
  if call('ZADD', P .. 'heads:' .. priority, 'LT', since, flow) == 1 then
    -- The flow's turn comes after those that wait already.
    call('ZADD', P .. 'ring:' .. priority, 'NX', redis.call('HGET', COUNT, 'turn') or 0, flow)
  end
  bump('r' .. priority, 1)
  bump('rb', size)
  wake_wanted = true
end

-- After members left a lane: its head moves on, or the flow leaves the rotation.
local function lane_refresh(priority, flow)
  local head = call('ZRANGE', P .. 'lane:' .. priority .. ':' .. flow, 0, 0, 'WITHSCORES')
  if head[1] then
    call('ZADD', P .. 'heads:' .. priority, head[2], flow)
    return true
  end
  call('ZREM', P .. 'heads:' .. priority, flow)
  call('ZREM', P .. 'ring:' .. priority, flow)
  return false
end

local function lane_remove(priority, flow, key, size)
  if call('ZREM', P .. 'lane:' .. priority .. ':' .. flow, key) == 1 then
    lane_refresh(priority, flow)
    bump('r' .. priority, -1)
    bump('rb', -size)
  end
end

-- A write goes (back) to its lane by what its record says: used for the newest write of a name.
local function ready_from_record(name, record)
  local bucket = bucket_of(name)
  local since = struct.unpack('>I7', record, 10)
  lane_add(byte(record, 17), bucket .. '/' .. tenant_of(record), sub(name, #bucket + 2), since, charge_of(record))
end
