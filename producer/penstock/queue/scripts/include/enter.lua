-- Lanes hold what is ready. Of each lane's flow either heads and ring follow it exactly, or, while the flow is set aside,
-- the two zsets of aside.lua: so neither ever holds an empty flow, and a claim sees only what it may take.
local any_aside = {}
local function is_aside(priority, flow)
  if any_aside[priority] == nil then
    any_aside[priority] = counter('a' .. priority) > 0
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
    call('ZADD', P .. 'ring:' .. priority, 'NX', counter('turn'), flow)
  end
  return true
end
