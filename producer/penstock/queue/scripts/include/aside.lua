-- Blocks: what claims must leave alone, and the flows that one of them met and set aside. A flow is set aside once and
-- costs claims nothing from then on; when no block holds it any more it comes back, some flows a call, whoever calls.
-- A block's subject is a bucket or a flow ('bucket/tenant'), or '' for the whole queue, which is meta's `paused`.
-- blocks: subject -> {reason -> {since, note}} (msgpack): it ends with its last reason, so that an operator's pause and
-- a suspension by a worker do not end each other.
local function is_blocked(flow)
  local found = call('HMGET', P .. 'blocks', bucket_of(flow), flow)
  return found[1] or found[2]
end

-- Takes a flow out of the rotation. Returns how many writes it holds.
local function set_flow_aside(priority, flow)
  local since, size = call('ZSCORE', P .. 'heads:' .. priority, flow), call('ZCARD', P .. 'lane:' .. priority .. ':' .. flow)
  call('ZREM', P .. 'heads:' .. priority, flow)
  call('ZREM', P .. 'ring:' .. priority, flow)
  call('ZADD', P .. 'aside:' .. priority, since, flow)
  call('ZADD', P .. 'aside', 0, flow .. priority)
  bump('a' .. priority, size)
  return size
end

local function bring_flow_back(priority, flow)
  local since = call('ZSCORE', P .. 'aside:' .. priority, flow)
  if not since or is_blocked(flow) then
    return 0
  end
  call('ZREM', P .. 'aside:' .. priority, flow)
  call('ZREM', P .. 'aside', flow .. priority)
  call('ZADD', P .. 'heads:' .. priority, since, flow)
  call('ZADD', P .. 'ring:' .. priority, counter('turn'), flow)
  bump('a' .. priority, -call('ZCARD', P .. 'lane:' .. priority .. ':' .. flow))
  wake_wanted = true
  return 1
end

-- One step of what ended blocks leave to do: looks at `limit` flows at the most. Returns how many came back.
local function end_blocks(limit)
  local back, looked = 0, 0
  while looked < limit do
    local ending = call('HRANDFIELD', P .. 'ending', 1, 'WITHVALUES')
    local subject, cursor = ending[1], ending[2]
    if not subject then
      break
    elseif string.find(subject, '/', 1, true) then
      for priority = 0, 3 do
        back = back + bring_flow_back(priority, subject)
      end
      looked = looked + 1
      call('HDEL', P .. 'ending', subject)
    else
      local from, most = cursor == '' and '[' .. subject .. '/' or '(' .. cursor, limit - looked
      local found = call('ZRANGEBYLEX', P .. 'aside', from, '(' .. subject .. '0', 'LIMIT', 0, most) -- '0' follows '/'
      for i = 1, #found do
        back = back + bring_flow_back(tonumber(sub(found[i], -1)), sub(found[i], 1, -2))
      end
      looked = looked + math.max(1, #found)
      if #found < most then
        call('HDEL', P .. 'ending', subject)
      else
        call('HSET', P .. 'ending', subject, found[#found])
      end
    end
  end
  return back
end
