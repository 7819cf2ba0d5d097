#!lua flags=allow-oom
-- Claims one write of a suspended bucket whose probe is due: another one each time. Who claims it moves the next probe on,
-- so that one worker of all probes at a time, and one that dies costs an interval.
-- KEYS[1]  meta
-- ARGV[1]  lease, ms   [2] bytes the worker can still hold   [3] 1 when it holds none   [4] token   [5] factor of jitter
-- ARGV[6]  greatest interval, µs   [7] the guard's window, µs   [8…] the buckets it may write to; without any, all
-- Returns  {ms until a probe is due or -1, 1 when a write waits for a process that holds nothing, the number below which a
--          write was accepted before the last epoch, bytes of a write that alone did not fit or 0, bucket, batch (as
--          claim's)}, without the last two when none is due
-- Errors   LAYOUT n
-- Rules    as claim.lua: ALONE; an attempt is counted, the lease begins here; EPOCH, REARM.
-- include: clock server keys counters record state enter lane mark aside suspension numbers epoch
local TRIES = 10           -- writes looked at for one that may be taken
local DEPTH = 100          -- how far into a lane a probe reaches
local NOTHING_WAITS = 1000000 -- µs until a bucket is looked at again of which nothing can be taken
local lease, budget, holds_none, token, now = ARGV[1] * 1000, tonumber(ARGV[2]), ARGV[3] == '1', ARGV[4], clock()
local meta = call('HMGET', P .. 'meta', 'layout', 'paused')
if meta[1] and meta[1] ~= LAYOUT then
  return redis.error_reply('LAYOUT ' .. meta[1])
end
local epoch, mark_until = epoch_at_claim(now, lease + tonumber(ARGV[7]))
local alone, needs, soonest = 0, 0, nil
local allowed = #ARGV == 7 and true or {}
for i = 8, #ARGV do
  allowed[ARGV[i]] = true
end

local function pick(bucket, probes)
  local from, to = '[' .. bucket .. '/', '(' .. bucket .. '0' -- '0' follows '/'
  local flows = call('ZLEXCOUNT', P .. 'aside', from, to)
  for try = probes, flows > 0 and probes + TRIES - 1 or -1 do
    local member = call('ZRANGEBYLEX', P .. 'aside', from, to, 'LIMIT', try % flows, 1)[1]
    local flow, priority = sub(member, 1, -2), tonumber(sub(member, -1))
    local lane = P .. 'lane:' .. priority .. ':' .. flow
    local at = math.floor(try / flows) % math.min(call('ZCARD', lane), DEPTH)
    local key = call('ZRANGE', lane, at, at)[1]
    local name = bucket .. '/' .. key
    local record, packed = call('HGET', WRITE, name), call('HGET', STATE, name)
    if record and byte(record, 1) <= WIRE_VERSION and call('HEXISTS', P .. 'blocks', flow) == 0 then
      local state = history_of(record, packed, priority, charge_of(record))
      if has(state.flags, SWEPT) and not holds_none then
        alone = 1
      elseif state.size <= budget or holds_none then
        return priority, flow, key, name, record, state
      elseif needs == 0 then
        needs = state.size
      end
    end
  end
end

local function claim(bucket, probes)
  local priority, flow, key, name, record, state = pick(bucket, probes)
  if not priority then
    return nil
  end
  call('ZREM', P .. 'lane:' .. priority .. ':' .. flow, key)
  lane_refresh(priority, flow, true)
  bump('r' .. priority, -1)
  bump('a' .. priority, -1)
  bump('rb', -state.size)
  bump('inflight', 1)
  state.status, state.attempts = INFLIGHT, math.min(state.attempts + 1, 255)
  local packed = pack_state(state)
  call('HSET', STATE, name, packed)
  call('HSET', P .. 'claim:' .. token, '@', now, name, state.id)
  call('ZADD', P .. 'lease', now + lease, token)
  if mark_until then
    arm(name, mark_until)
  end
  return { token, name, packed, record }
end

local function due(bucket, s)
  if s.next > now then
    return nil, s.next
  end
  local packed = call('HGET', P .. 'blocks', bucket)
  for reason in pairs(packed and cmsgpack.unpack(packed) or {}) do
    if reason ~= SUSPENDED then -- an operator's pause holds for probes too
      return nil, now + NOTHING_WAITS
    end
  end
  local batch = claim(bucket, s.probes)
  if not batch then
    return nil, now + NOTHING_WAITS
  end
  s.probes, s.interval = s.probes + 1, math.min(2 * s.interval, tonumber(ARGV[6]))
  s.next = now + math.floor(s.interval * ARGV[5])
  call('HSET', P .. 'suspended', bucket, cmsgpack.pack(s))
  return batch, s.next
end

local all = meta[2] and {} or call('HGETALL', P .. 'suspended') -- at most as many as blocks
local reply = {}
for i = 1, #all, 2 do
  if allowed == true or allowed[all[i]] then
    local batch, again = due(all[i], cmsgpack.unpack(all[i + 1]))
    soonest = math.min(soonest or again, again)
    if batch then
      reply = { all[i], batch }
      soonest = now
      break
    end
  end
end
flush()
return { soonest and math.max(0, math.ceil((soonest - now) / 1000)) or -1, alone, epoch, #reply == 0 and needs or 0, unpack(reply) }
