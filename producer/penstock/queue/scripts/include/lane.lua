-- How writes come to lanes and leave them, beside enqueue; see enter.lua.
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
