-- The mark: a name is contested while a request of an earlier claim may still land in S3.
-- mark: name -> deadline(7) generation(8): nothing old can land after the deadline; every change of the mark or of the
-- retained payload makes a new generation, which a guard's verdict must name (CAS).
-- contested: name -> when the guard looks next.   retained: name -> record of the newest write settled as stored since the
-- mark was made (RETAIN).   kept: name -> record of a claimed write of a marked name whose place in `write` a newer one took.
local MARK, RETAINED, KEPT = P .. 'mark', P .. 'retained', P .. 'kept'
local marks, generation

local function any_marked()
  if marks == nil then
    marks = counter('contested') > 0
  end
  return marks
end

local function is_marked(name)
  return any_marked() and call('HEXISTS', MARK, name) == 1
end

local function new_generation()
  if not generation then
    bump('generation', 1)
    generation = counter('generation')
    store_counters() -- also when the script ends in an error: two armings never share one
  end
  return generation
end

local function set_mark(name, deadline)
  call('HSET', MARK, name, struct.pack('>I7I8', deadline, new_generation()))
end

-- REARM: every arming moves the deadline on, never back, and makes a new generation. At most 1,000 different names.
local function arm_all(names, deadline)
  new_generation()
  local before, fields, looks = call('HMGET', MARK, unpack(names)), {}, {}
  for i = 1, #names do
    local till = before[i] and math.max(deadline, (struct.unpack('>I7', before[i]))) or deadline
    fields[2 * i - 1], fields[2 * i] = names[i], struct.pack('>I7I8', till, generation)
    looks[2 * i - 1], looks[2 * i] = till, names[i]
    bump('contested', before[i] and 0 or 1)
  end
  call('HSET', MARK, unpack(fields))
  call('ZADD', P .. 'contested', unpack(looks))
  marks = true
end

local function arm(name, deadline)
  arm_all({ name }, deadline)
end

local function deadline_of(name)
  return (struct.unpack('>I7', call('HGET', MARK, name)))
end

-- Drops a large body whose record left its place, unless another record of its name holds it: a repair shares the
-- retained one's. `replaced`: the record is being replaced in `write`, where it still stands.
local function release_blob(name, record, replaced)
  local id, size = blob_at(record, byte(record, 18), RECORD_HEAD + 1)
  if not id then
    return
  end
  for _, place in ipairs(any_marked() and { WRITE, RETAINED, KEPT } or {}) do
    local other = not (replaced and place == WRITE) and call('HGET', place, name)
    if other and blob_at(other, byte(other, 18), RECORD_HEAD + 1) == id then
      return
    end
  end
  drop_blob(id, size)
end

local function drop_retained(name, retained)
  call('HDEL', RETAINED, name)
  bump('bytes', -charge_of(retained))
  release_blob(name, retained)
end

-- RETAIN: the write of a marked name has been stored; its payload takes the place of the one stored before. Its bytes are
-- counted already, as a waiting write's. Returns true when it was the very write that was retained: a repair.
local function retain(name, record)
  local before = call('HGET', RETAINED, name)
  call('HSET', RETAINED, name, record)
  set_mark(name, deadline_of(name))
  if before then
    bump('bytes', -charge_of(before))
    release_blob(name, before)
    return sub(before, 2, 9) == sub(record, 2, 9)
  end
  return false
end

-- The claimed write of a marked name is superseded.
local function drop_kept(name)
  local record = any_marked() and call('HGET', KEPT, name)
  if record then
    call('HDEL', KEPT, name)
    bump('bytes', -charge_of(record))
    release_blob(name, record)
  end
end

-- KEEP: a repair that is dead-lettered drops the retained copy: the dead letter has the payload, and it no longer counts
-- as stored. DEADMARK: of any other write, mark and retained payload stay.
local function forget_dead_repair(name, id)
  local retained = any_marked() and call('HGET', RETAINED, name)
  if retained and sub(retained, 2, 9) == id then
    call('HDEL', RETAINED, name)
    bump('bytes', -charge_of(retained))
    set_mark(name, deadline_of(name))
  end
end

-- Only the guard takes a mark off (HOLD).
local function clear_mark(name)
  local retained = call('HGET', RETAINED, name)
  if retained then
    drop_retained(name, retained)
  end
  call('HDEL', MARK, name)
  call('ZREM', P .. 'contested', name)
  bump('contested', -1)
end
