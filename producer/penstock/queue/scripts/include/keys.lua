-- Names of a shard's keys, all derived from KEYS[1], its meta key, so that they share one hash tag. Each call names
-- `absent` as KEYS[2], which never exists, so that no script begins while its slot moves (see names.py).
-- Layout 2:
--   meta          hash    layout, shards, this shard's part of the limits, paused, log_level (shard 0's counts), the server's
--                         identity (see epoch.lua); absent fields take the defaults below. While the number of shards is
--                         being changed shards is 0, and shards_was the number until then
--   count, count:more  string  counters, the last sequence number, credits, turns (see counters.lua)
--   write         hash    name -> record of the newest accepted, unsettled write (see record.lua)
--   state         hash    name -> packed history; absent for a write that was never claimed (see state.lua); '@' -> a filler
--   lane:P:FLOW   zset    key -> since; what is ready, one lane per priority P (0 critical .. 3 low) and flow
--   ring:P        zset    flow -> turn; the flows of a priority in rotation
--   heads:P       zset    flow -> since of the lane's head, so that the oldest age is one look
--   blocks        hash    bucket or flow -> why claims leave it alone (see aside.lua)
--   aside:P       zset    as heads:P, for the flows that a claim met while they were blocked: they are in no ring
--   aside         zset    the same flows, each with its priority behind it, by name, so that a bucket's are a range
--   suspended, suspects                           buckets whose destination is broken, see suspension.lua
--   ok            hash    bucket -> when a write was last stored there
--   ending        hash    bucket or flow -> the last of `aside` looked at; blocks that ended, whose flows come back
--   due           zset    name -> time when a delayed write is ready again
--   lease         zset    token -> deadline;  claim:TOKEN  hash  name -> sequence number,
--                         '@' -> birth, 0 as soon as a part of the claim has been swept
--   dead:at, dead:info, dead:body, dead:name      dead letters, see dead.lua
--   mark, contested, retained, kept               names that an old request may still hit, see mark.lua
--   alone         zset    name -> since; swept writes, each to be claimed by itself (see alone.lua)
--   parked        zset    name -> since, or when it was found too large while others waited behind it; failed for good while
--                         the dead-letter queue is full
--   failure       hash    name -> 'e' (environment) or '-', when(7), why its write failed last (msgpack)
--   blob:ID       string  a large body (see record.lua);  call:PRODUCER  string  the last call and its answer
--   audit         stream  what operators changed by command, the newest of it
--   worker        zset    worker -> time of its last beat;  workers  hash  worker -> what it told (msgpack)
--   settled       stream  how writes left the queue lately (see settled.lua)
--   replayed      hash    name -> number and time of a spooled write (see spooled.lua); gone after a day
--   wake          list    at most one element, popped by a worker that sleeps
-- A flow is "bucket/tenant", a name "bucket/key": a bucket's name holds no slash.
local P = string.sub(KEYS[1], 1, -5)
local COUNT, WRITE, STATE = P .. 'count', P .. 'write', P .. 'state'
local call, sub, byte = redis.call, string.sub, string.byte
local LAYOUT, DEFAULT_ITEMS, DEFAULT_BYTES, DEFAULT_DEAD_BYTES = '2', 1000000, 1073741824, 268435456

-- Redis compares Lua strings by its locale, so sequence and call numbers, 8 bytes each, are compared as numbers.
local function number_of(id)
  return (struct.unpack('>I8', id))
end

local function bucket_of(name)
  return sub(name, 1, string.find(name, '/', 1, true) - 1)
end
