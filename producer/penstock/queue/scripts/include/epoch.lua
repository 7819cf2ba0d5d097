-- EPOCH: a server that is not the one the queue knew has restarted, was promoted, or was given an older copy of the data,
-- and may have lost its last steps (LOSS). In meta:
-- epoch_of     the server that the queue knows, see server.lua
-- epoch_seq    writes with a lower number were accepted before the last epoch began; absent before the first one
-- epoch_at     when that was
-- epochs       the same two of the last epochs, 16 digits each, oldest first: of which time an old number is (see spooled.lua)
-- epoch_until  until then every claim marks what it takes: a claim that was lost, with a lease that its holder still
--              believes in, may have sent an older write. Absent until a claim has set it
local CLOCKS_APART = 60000000 -- µs: clocks of two servers, each of which may be 30 s from a worker's that sends
local AHEAD = 10000000        -- µs that one epoch's numbers are ahead of those before, at the least
local EPOCHS_KEPT = 8

-- New numbers stand above all that was given in the lost time, and so do the marks' generations, which a guard that looked
-- before the loss may still hold (CAS). While the clock has not caught up with an epoch's numbers, further losses raise them
-- above that; and by half of the time since, so that of two epochs that begin from the same data, because the first was lost
-- too, the second has the higher ones. Returns the last number so far.
local function begin_epoch(now)
  local meta, count, others = call('HMGET', P .. 'meta', 'epoch_seq', 'epoch_at', 'epochs'), read_counters()
  local seq, at = tonumber(meta[1]) or 0, tonumber(meta[2]) or 0
  local ahead = math.max(CLOCKS_APART, seq - at + AHEAD - math.floor((now - at) / 2))
  local last = math.max(count.last + AHEAD, now + ahead)
  count.last, others.generation = last, math.max(others.generation, last)
  store_counters() -- also when the script ends without a change of its own
  call('HSET', P .. 'meta', 'epoch_of', server(), 'epoch_seq', last, 'epoch_at', now,
    'epochs', sub((meta[3] or '') .. string.format('%016.0f%016.0f', last, now), -32 * EPOCHS_KEPT))
  call('HDEL', P .. 'meta', 'epoch_until')
  return last
end

-- For a script that claims: `span` is a lease and the guard's window, µs. Returns epoch_seq or 0, and epoch_until if that is
-- still to come.
local function epoch_at_claim(now, span)
  local meta, known_as = call('HMGET', P .. 'meta', 'epoch_of', 'epoch_seq', 'epoch_until'), server()
  local seq, till = tonumber(meta[2]) or 0, tonumber(meta[3])
  if not meta[1] then
    call('HSET', P .. 'meta', 'epoch_of', known_as) -- a new queue, or one of an older version
  elseif meta[1] ~= known_as then
    seq, till = begin_epoch(now), nil
  end
  if seq > 0 and not till then
    till = now + span
    call('HSET', P .. 'meta', 'epoch_until', till)
  end
  return seq, till and till > now and till or nil
end
