#!lua flags=allow-oom
-- Ends the claims of writes of one token, each with its own outcome, in one call.
-- KEYS[1]  meta
-- ARGV[1]  token   [2] most attempts   [3] the guard's window, µs
-- ARGV[4…] per write: name, outcome, counted ('1'/'0'), delay ms, failure
--          outcome: 's' stored, 'r' try again later, 'u' the same, and it may have been applied, 'e' the same, the
--          environment's fault, 'd' failed for good,
--          'g' given back, never sent, 'b' given back, may have been sent, 'o' overtaken: not sent, because the object is of
--          a newer write than this one. `counted` '0' takes the attempt back (throttled,
--          an outage). Of 'e' the script decides: it counts when another write to the bucket was stored since this one's
--          last such fault, for then it is the write's own.
-- Returns  one letter a write: 's' stored, 'R' stored, and it was a repair, 'r' delayed, 'd' dead, 'p' parked, 'g' ready
--          again, 'u' superseded by a newer write, 'l' lease lost: the claim is another's or nobody's, nothing was changed.
-- Rules    TOKEN, UNK, REL, REARM, HOLD, RETAIN, DEADMARK, KEEP, SUP, SDEAD (a write given back after it may have been
--          sent), EPOCH (a write that a lost one has overtaken), attempts bounded (promise 3).
-- include: clock keys counters record state enter lane mark dead alone unclaim settled
local token, max_attempts, now = ARGV[1], tonumber(ARGV[2]), clock()
local mark_until = now + tonumber(ARGV[3])
local claim_key = P .. 'claim:' .. token
local names, total = {}, (#ARGV - 3) / 5
for i = 1, total do
  names[i] = ARGV[5 * i - 1]
end

local function chunked(command, key, members)
  local found = {}
  for at = 1, #members, 2000 do
    local part = call(command, key, unpack(members, at, math.min(at + 1999, #members)))
    if type(part) == 'table' then
      for i = 1, #part do
        found[#found + 1] = part[i]
      end
    end
  end
  return found
end

local claimed = chunked('HMGET', claim_key, names)
local histories = chunked('HMGET', STATE, names)
local count, others = read_counters()
local any_dead = others.dead > 0
local marked = count.contested > 0 and chunked('HMGET', MARK, names) or {}
local done, unclaimed, ended, answer, seen, seen_overtaken = {}, {}, {}, {}, {}, {}

-- SUP: the older dead letters of a name have become pointless.
local function forget_older(name, id)
  if any_dead then
    local seq = number_of(id)
    remove_letters(name, function(older) return older < seq end, false)
  end
end

-- The claimed write leaves the queue, and nothing newer waits behind it.
local function leave(name)
  done[#done + 1] = name
  bump('inflight', -1)
  bump('items', -1)
end

-- By far the most frequent outcome takes no more of the history than it needs.
local stored_in = {}
local function stored(name, packed, is_marked)
  local id, flags, size = sub(packed, 1, 8), flags_and_size(packed)
  stored_in[bucket_of(name)] = true
  seen[#seen + 1] = seen_of(id, name)
  forget_older(name, id)
  local behind, letter = has(flags, NEWER), 's'
  if is_marked then -- HOLD: the mark stays
    letter = retain(name, call('HGET', behind and KEPT or WRITE, name)) and 'R' or 's'
    call('HDEL', KEPT, name)
  end
  if behind then
    promote_newer(name)
    return letter
  end
  if not is_marked then
    bump('bytes', -size)
    if has(flags, BLOB) then
      local record = call('HGET', WRITE, name)
      drop_blob(blob_at(record, byte(record, 18), RECORD_HEAD + 1))
    end
  end
  leave(name)
  return letter
end

-- EPOCH: what overtook it was stored, although this Redis forgot it. Mark and retained payload stay (HOLD).
local function overtaken(name, state)
  seen_overtaken[#seen_overtaken + 1] = seen_of(state.id, name)
  forget_older(name, state.id)
  if has(state.flags, NEWER) then
    promote_newer(name)
  else
    bump('bytes', -state.size)
    if has(state.flags, BLOB) then
      release_blob(name, call('HGET', WRITE, name), true)
    end
    leave(name)
  end
  return 'u'
end

local function is_own_fault(name)
  local before = call('HGET', P .. 'failure', name)
  local last_stored = before and sub(before, 1, 1) == 'e' and call('HGET', P .. 'ok', bucket_of(name))
  return last_stored and tonumber(last_stored) > struct.unpack('>I7', before, 2)
end

local function delay(name, state, wait, stamp, failure)
  state.status = DELAYED
  call('HSET', STATE, name, pack_state(state))
  call('HSET', P .. 'failure', name, stamp .. struct.pack('>I7', now) .. failure)
  call('ZADD', P .. 'due', now + wait * 1000, name)
  bump('inflight', -1)
  bump('delayed', 1)
  return 'r'
end

local function settle(name, packed, outcome, counted, wait, failure, is_marked)
  if outcome == 's' then
    return stored(name, packed, is_marked)
  end
  local state = read_state(packed)
  if outcome == 'o' then
    return overtaken(name, state)
  elseif outcome == 'u' or outcome == 'b' then -- UNK, REL
    arm(name, mark_until)
  end
  if has(state.flags, NEWER) then
    promote_newer(name)
    return 'u'
  elseif outcome == 'd' then
    return bury(name, state, failure, now)
  end
  if outcome == 'e' then
    counted = is_own_fault(name)
  end
  if not counted or outcome == 'g' then
    state.attempts = math.max(0, state.attempts - 1)
  elseif state.attempts >= max_attempts then
    return bury(name, state, failure, now)
  end
  if outcome == 'r' or outcome == 'u' or outcome == 'e' then
    return delay(name, state, wait, outcome == 'e' and 'e' or '-', failure)
  end
  give_back(name, state)
  return 'g'
end

for i = 1, total do
  local name, at = names[i], 5 * i - 1
  if not claimed[i] or ended[name] then -- TOKEN
    answer[i] = 'l'
  else
    ended[name] = true
    unclaimed[#unclaimed + 1] = name
    answer[i] = settle(name, histories[i], ARGV[at + 1], ARGV[at + 2] == '1', tonumber(ARGV[at + 3]), ARGV[at + 4],
      marked[i])
  end
end
remember('s', seen)
remember('u', seen_overtaken)
for bucket in pairs(stored_in) do
  call('HSET', P .. 'ok', bucket, now)
end
chunked('HDEL', WRITE, done)
chunked('HDEL', STATE, done)
if call('EXISTS', P .. 'failure') == 1 then -- few writes have failed before
  chunked('HDEL', P .. 'failure', done)
end
if #unclaimed == call('HLEN', claim_key) - 1 then -- all but '@'
  call('DEL', claim_key)
  call('ZREM', P .. 'lease', token)
else
  chunked('HDEL', claim_key, unclaimed)
end
flush()
return table.concat(answer)
