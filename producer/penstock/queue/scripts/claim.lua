#!lua flags=allow-oom
-- Claims ready writes for one worker, as one batch or as several full ones.
-- KEYS[1]  meta
-- ARGV[1]  lease, ms   [2] most puts a batch   [3] most bytes a batch   [4] longest wait, µs
-- ARGV[5]  bytes the worker can still hold (all batches)   [6] 1 when it holds none, so that one write of any size fits
-- ARGV[7]  buckets to leave alone, a slash behind each   [8] the guard's window, µs
-- ARGV[9]  1 when it has room for critical writes only   [10…] tokens, one for each batch it can take
-- Returns  {ms until something is due or -1, writes of a newer wire version met, writes whose record is gone, 1 when a
--          write waits for a process that holds nothing, suspended buckets, the number below which a write was accepted
--          before the last epoch, ms that this epoch goes on for, bytes of the write whose turn it was and that did not
--          fit what the worker can hold, or 0, batches…};
--          a batch: {token, name, state, record, name, state, record, …}
-- Errors   LAYOUT n
-- Rules    ALONE: a swept write is a batch by itself, for a process that holds no claim. An attempt is counted here
--          (promise 3); the lease begins here (LEASE, CAP: '@' holds the birth). EPOCH: while one goes on, each write that
--          is taken is marked (REARM). A batch of critical writes holds no others, which it would wait for.
-- include: clock server keys counters record state enter lane mark alone aside work shares numbers epoch due
local FIRST_TOKEN, REPLY_HEAD = 10, 8
local QUANTUM = 8        -- writes a flow gives before the next one's turn
local ALONE_STEP = 20    -- swept writes looked at, so that a blocked one does not hide the others
local NEWER_WIRE_DELAY = 5000000 -- µs until a write of a newer version is offered again
local BLOCKED_DELAY = 1000       -- ms to wait when the next write does not fit the worker's byte budget
-- In `state` under '@', too long for a listpack, in which Redis would look through up to 512 histories to find one.
local FILLER = '-----------------------------------------------------------------'
local SKIPPED_DELAY = 50         -- ms to wait when a call's work was all spent on flows to leave alone

local lease = ARGV[1] * 1000
max_bytes, max_wait, only_critical = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[9] == '1'
max_items = math.min(tonumber(ARGV[2]), MAX_DELETES)
local budget, holds_none = tonumber(ARGV[5]), ARGV[6] == '1'
local meta = call('HMGET', P .. 'meta', 'layout', 'paused')
if meta[1] and meta[1] ~= LAYOUT then
  return redis.error_reply('LAYOUT ' .. meta[1])
elseif not meta[1] then
  call('HSET', P .. 'meta', 'layout', LAYOUT) -- or a producer of an older one, coming later, would take it for its own
end
local count, others = read_counters()
for priority = 0, 3 do
  ready[priority] = count['r' .. priority] - count['a' .. priority]
  credit[priority] = math.max(-MAX_DELETES, others['c' .. priority])
end
-- What the first flow of each ring has given of its quantum: a turn that a batch cut short goes on in the next one.
local given, turn = { [0] = others.g0, others.g1, others.g2, others.g3 }, count.turn
now, is_paused = clock(), meta[2]
local newer_wire, missing, needs = 0, 0, 0
local to_mark = {}
local epoch, mark_until = epoch_at_claim(now, lease + tonumber(ARGV[8]))
ready_bytes, any_set_aside = count.rb, count.a0 + count.a1 + count.a2 + count.a3 > 0

local skips, skipped = {}, { [0] = 0, 0, 0, 0 }
for bucket in string.gmatch(ARGV[7], '[^/]+') do
  skips[bucket] = true
end

-- Whether a write still fits. Units: a put takes MAX_DELETES of them, a delete max_items.
local function fits(batch, size, units)
  if batch.units + units > max_items * MAX_DELETES or batch.size >= MAX_DELETES then
    return false
  elseif batch.size == 0 then
    return size <= budget or holds_none
  end
  return batch.bytes + size <= max_bytes and size <= budget
end

local function take(batch, name, record, history, priority, size)
  local packed, at = history_claimed(record, history, priority, size), #batch.reply
  batch.reply[at + 1], batch.reply[at + 2], batch.reply[at + 3] = name, packed, record
  batch.claim[#batch.claim + 1], batch.claim[#batch.claim + 2] = name, sub(packed, 1, 8)
  batch.size, batch.bytes = batch.size + 1, batch.bytes + size
  budget, holds_none = budget - size, false
  if mark_until then
    to_mark[#to_mark + 1] = name
    work = work + MARK_WORK
  end
  return packed
end

-- A worker of a newer version will take it: until then it must not stand in the way.
local function set_aside(name, state)
  state.status = DELAYED
  call('ZADD', P .. 'due', now + NEWER_WIRE_DELAY, name)
  newer_wire = newer_wire + 1
  return pack_state(state)
end

-- Takes what one flow gives at its turn, at most `want`. Returns false when the batch can take no more.
local function serve(batch, priority, want)
  local flow = call('ZRANGE', P .. 'ring:' .. priority, 0, 0)[1]
  if not flow then
    return false
  elseif others.blocks > 0 and is_blocked(flow) then
    ready[priority] = ready[priority] - set_flow_aside(priority, flow)
    given[priority], any_set_aside, work = 0, true, work + ASIDE
    return true
  elseif ARGV[7] ~= '' and skips[bucket_of(flow)] then
    skipped[priority], given[priority], turn = skipped[priority] + 1, 0, turn + 1
    call('ZADD', P .. 'ring:' .. priority, turn, flow)
    return skipped[priority] < call('ZCARD', P .. 'ring:' .. priority)
  end
  local quantum = QUANTUM - given[priority]
  if want > quantum and call('ZCARD', P .. 'ring:' .. priority) > 1 then
    want = quantum
  end
  local lane, bucket = P .. 'lane:' .. priority .. ':' .. flow, bucket_of(flow)
  local keys = call('ZRANGE', lane, 0, want - 1)
  local names = {}
  for i = 1, #keys do
    names[i] = bucket .. '/' .. keys[i]
  end
  local records = call('HMGET', WRITE, unpack(names))
  names[#names + 1] = '@'
  local histories = call('HMGET', STATE, unpack(names))
  count_work(records, #keys)
  local taken, aside, apart, lost, bytes, open = 0, 0, 0, 0, 0, true
  local states = histories[#names] and {} or { '@', FILLER }
  local none = #states
  for i = 1, #keys do
    local name, record = names[i], records[i]
    local size, packed = record and charge_of(record) or 0, nil
    if not record then -- Redis evicted it: what is left must not stop the claims of all others
      lost = lost + 1
      call('HDEL', STATE, name)
    elseif byte(record, 1) > WIRE_VERSION then
      packed = set_aside(name, history_of(record, histories[i], priority, size))
      aside = aside + 1
    elseif histories[i] and has(read_state(histories[i]).flags, SWEPT) then -- it came here when its flow was blocked
      enter_alone(name, read_state(histories[i]))
      apart = apart + 1
    else
      local units = has(byte(record, 18), 1) and max_items or MAX_DELETES
      if not fits(batch, size, units) then
        if batch.size == 0 and needs == 0 then
          needs = size
        end
        open = false
        break
      end
      packed = take(batch, name, record, histories[i], priority, size)
      batch.units, batch.puts = batch.units + units, batch.puts or units == MAX_DELETES
      taken = taken + 1
    end
    if packed then
      states[#states + 1] = name
      states[#states + 1] = packed
    end
    bytes = bytes + size
  end
  local gone = taken + aside + apart + lost
  if #states > none then
    call('HSET', STATE, unpack(states))
  end
  if gone > 0 then
    missing = missing + lost
    bump('items', -lost)
    call('ZREMRANGEBYRANK', lane, 0, gone - 1)
    bump('r' .. priority, -gone)
    bump('rb', -bytes)
    bump('inflight', taken)
    bump('delayed', aside)
    ready[priority], ready_bytes = ready[priority] - gone, ready_bytes - bytes
    given[priority] = given[priority] + gone
    charge_for(priority, taken)
    local stays = lane_refresh(priority, flow)
    if not stays or given[priority] >= QUANTUM then
      given[priority], turn = 0, turn + 1
      if stays then
        call('ZADD', P .. 'ring:' .. priority, turn, flow)
      end
    end
  end
  return open
end

-- Fills a batch from these priorities. Returns it, if it holds something, and the priorities that it may hold.
local function fill(token, first, last)
  local batch = { reply = { token }, claim = { '@', now }, size = 0, units = 0, bytes = 0, puts = false }
  while not has_worked() and waiting() > 0 do
    work = work + VISIT
    local priority, most = choose(first, last)
    -- So long as there are only deletes, which hardly take room, there is much of it.
    local room = math.ceil((max_items * MAX_DELETES - batch.units) / MAX_DELETES)
    if batch.size > 0 and not batch.puts then
      room = MAX_DELETES - batch.size
    end
    if not priority or room <= 0 then
      break
    end
    local goes_on = serve(batch, priority, math.min(most, room, step()))
    if batch.size > 0 then
      first, last = math.min(priority, 1), priority > 0 and 3 or 0
    end
    if not goes_on then
      if batch.size > 0 then
        break
      end
      too_large[priority] = true
    end
  end
  if batch.size > 0 then
    call('HSET', P .. 'claim:' .. token, unpack(batch.claim))
    call('ZADD', P .. 'lease', now + lease, token)
    return batch.reply, first, last
  end
end

-- The oldest swept write that is not blocked, as a batch by itself. One that is blocked goes to its lane, which its flow's
-- block sets aside.
local function fill_alone(token)
  local names = call('ZRANGE', P .. 'alone', 0, ALONE_STEP - 1)
  for i = 1, #names do
    local name, bucket = names[i], bucket_of(names[i])
    local state, record = read_state(call('HGET', STATE, name)), call('HGET', WRITE, name)
    leave_alone(name, state)
    if not record then
      missing = missing + 1
      call('HDEL', STATE, name)
      bump('items', -1)
    elseif skips[bucket] or others.blocks > 0 and is_blocked(bucket .. '/' .. state.tenant) then
      state.status = READY
      call('HSET', STATE, name, pack_state(state))
      local flow = bucket .. '/' .. state.tenant
      lane_add(state.priority, flow, sub(name, #bucket + 2), state.since, state.size)
      if not is_aside(state.priority, flow) then
        ready[state.priority], ready_bytes = ready[state.priority] + 1, ready_bytes + state.size
      end
    elseif byte(record, 1) > WIRE_VERSION then -- it comes back alone
      call('HSET', STATE, name, set_aside(name, state))
      bump('delayed', 1)
    else
      local batch = { reply = { token }, claim = { '@', now }, size = 0, bytes = 0 }
      call('HSET', STATE, name, take(batch, name, record, pack_state(state), nil, state.size))
      bump('inflight', 1)
      call('HSET', P .. 'claim:' .. token, unpack(batch.claim))
      call('ZADD', P .. 'lease', now + lease, token)
      return batch.reply
    end
  end
end

local reply, due, blocked, alone = { -1, 0, 0, 0, others.suspended, epoch, 0, 0 }, due_at(), false, nil
if mark_until then
  reply[7] = math.ceil((mark_until - now) / 1000)
end
-- In turns, so that after a crash neither what was swept nor what is urgent waits for all of the other.
if holds_none and not only_critical and not is_paused and any_alone() and (due or others.alone_turn == 0) then
  alone = fill_alone(ARGV[FIRST_TOKEN])
  reply[REPLY_HEAD + 1] = alone
  others.alone_turn = 1
  if not alone then
    due = due_at() -- what was blocked is in its lane now
  end
elseif not due and not only_critical then
  others.alone_turn = 0
end
-- One call's batches are all of critical writes or all of others: the first need not wait for these to be filled.
local first, last = 0, only_critical and 0 or 3
for i = FIRST_TOKEN, #ARGV do
  if alone or due or has_worked() or i > FIRST_TOKEN and (last == 0 and ready[0] < max_items or not full()) then
    break
  end
  local batch
  batch, first, last = fill(ARGV[i], first, last)
  due = due_at()
  if not batch then
    blocked = not has_worked() and #reply == REPLY_HEAD
    break
  end
  reply[#reply + 1] = batch
end
if not due then
  -- Flows that were only skipped are no reason to ask again at once, unless others wait behind so many of them.
  local only_skipped = #reply == REPLY_HEAD and skipped[0] + skipped[1] + skipped[2] + skipped[3] > 0
  reply[1] = blocked and BLOCKED_DELAY or only_skipped and SKIPPED_DELAY or 0
elseif due >= 0 then
  reply[1] = math.max(0, math.ceil((due - now) / 1000))
end
reply[2], reply[3], reply[4] = newer_wire, missing, not is_paused and any_alone() and 1 or 0
reply[8] = needs
for first = 1, #to_mark, MAX_DELETES do
  arm_all({ unpack(to_mark, first, math.min(first + MAX_DELETES - 1, #to_mark)) }, mark_until)
end
for priority = 0, 3 do
  others['c' .. priority], others['g' .. priority] = credit[priority], given[priority]
end
count.turn = turn
if not only_critical then -- which nobody was woken for, and which says nothing of the batches that are wanted
  count.want_items, count.want_bytes = max_items, max_bytes
  -- Whoever was woken passes the wake-up on while there is work for another, or will be before it has room again.
  local is_full = alone or #reply - REPLY_HEAD > #ARGV - FIRST_TOKEN
  -- What this worker has no room for may fit another, and who waits for room pops no wake-up.
  wake_wanted = not due and #reply > REPLY_HEAD or is_full and due and due >= 0 or reply[4] == 1 or needs > 0
end
flush()
return reply
