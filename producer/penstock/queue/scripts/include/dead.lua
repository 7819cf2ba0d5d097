-- Dead letters: dead:at zset seq -> time of death; dead:info hash seq -> facts; dead:body hash seq -> record;
-- dead:name hash name -> the seqs of its newest dead letters, oldest first, 8 bytes each.
-- Facts: since(7) died(7) priority(1) attempts(1) flags(1) size(4) name length(2) name tenant length(1) tenant failure.
local MAX_OF_NAME = 16 -- letters of one name; more would be a walk, and those before are superseded anyway
local IMPORTED = 128   -- a flag of a letter that came from a file (see import_dead.lua)
local dead_limit

local function room_for_dead(size)
  if not dead_limit then
    dead_limit = tonumber(call('HGET', P .. 'meta', 'dead_bytes')) or DEFAULT_DEAD_BYTES
  end
  return counter('dead_bytes') + size <= dead_limit
end

local function letters_of(name)
  local ids, packed = {}, call('HGET', P .. 'dead:name', name) or ''
  for at = 1, #packed, 8 do
    ids[#ids + 1] = sub(packed, at, at + 7)
  end
  return ids
end

local function set_letters(name, ids)
  if #ids > 0 then
    call('HSET', P .. 'dead:name', name, table.concat(ids))
  else
    call('HDEL', P .. 'dead:name', name)
  end
end

-- Takes a letter away, except from its name's list; `keep_body` when its record goes back to the queue.
local function remove_letter(id, keep_body)
  local size = struct.unpack('>I4', call('HGET', P .. 'dead:info', id), 18)
  if not keep_body then
    local record = call('HGET', P .. 'dead:body', id)
    drop_blob(blob_at(record, byte(record, 18), RECORD_HEAD + 1))
  end
  call('HDEL', P .. 'dead:body', id)
  call('HDEL', P .. 'dead:info', id)
  call('ZREM', P .. 'dead:at', id)
  bump('dead', -1)
  bump('dead_bytes', -size)
end

-- Removes the letters of a name for whose number `test` says so.
local function remove_letters(name, test, keep_body)
  local kept = {}
  for _, id in ipairs(letters_of(name)) do
    if test(number_of(id)) then
      remove_letter(id, keep_body)
    else
      kept[#kept + 1] = id
    end
  end
  set_letters(name, kept)
end

local function add_letter(name, id)
  local ids, at = letters_of(name), 1
  while ids[at] and number_of(ids[at]) < number_of(id) do -- an older one comes back after a forced retry
    at = at + 1
  end
  table.insert(ids, at, id)
  if #ids > MAX_OF_NAME then
    remove_letter(table.remove(ids, 1), false)
  end
  set_letters(name, ids)
end

-- The write of a name that nothing newer follows leaves the queue for the dead-letter queue, payload and all.
-- Returns 'd', or 'p' when there is no room: the write is then parked, because dropping it is not an option.
-- The caller takes it out of its claim; a name that was parked or in flight is counted out here.
local function bury(name, state, failure, now)
  local from = state.status == PARKED and 'parked' or 'inflight'
  if not room_for_dead(state.size) then
    if state.status ~= PARKED then
      state.status = PARKED
      call('HSET', STATE, name, pack_state(state))
      call('HSET', P .. 'failure', name, '-' .. struct.pack('>I7', now) .. failure)
      call('ZADD', P .. 'parked', state.since, name)
      bump(from, -1)
      bump('parked', 1)
    end
    return 'p'
  end
  local record = call('HGET', WRITE, name)
  local id = state.id
  call('HSET', P .. 'dead:body', id, record)
  call('HSET', P .. 'dead:info', id,
    struct.pack('>I7I7BBBI4H', state.since, now, state.priority, state.attempts, state.flags, state.size, #name)
      .. name .. string.char(#state.tenant) .. state.tenant .. failure)
  call('ZADD', P .. 'dead:at', now, id)
  add_letter(name, id)
  forget_dead_repair(name, id)
  call('HDEL', WRITE, name)
  call('HDEL', STATE, name)
  call('HDEL', P .. 'failure', name)
  bump(from, -1)
  bump('items', -1)
  bump('bytes', -state.size)
  bump('dead', 1)
  bump('dead_bytes', state.size)
  return 'd'
end
