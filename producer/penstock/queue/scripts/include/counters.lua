-- Counters: numbers of 7 bytes, signed, in one string, because reading and writing many fields of a hash costs more
-- than anything else in an enqueue. The first half is what enqueue needs, which leaves the other half alone if it can.
local HALF, HALF_SIZE = '>i7i7i7i7i7i7i7i7i7i7i7i7i7i7i7i7i7i7i7i7i7i7i7i7', 168
local packed, counts, others, wake_wanted -- as they are in Redis; the two halves by name

-- Reads the first half from what `count` holds, if it is there.
local function know(text)
  packed = text or ''
  if #packed < 2 * HALF_SIZE then
    packed = packed .. string.rep('\0', 2 * HALF_SIZE - #packed)
  end
  local last, items, bytes, rb, r0, r1, r2, r3, a0, a1, a2, a3, want_items, want_bytes, contested, turn, acc0, acc1,
    acc2, acc3, coa0, coa1, coa2, coa3 =
    struct.unpack(HALF, packed)
  counts = {
    last = last, items = items, bytes = bytes, rb = rb, r0 = r0, r1 = r1, r2 = r2, r3 = r3, a0 = a0, a1 = a1,
    a2 = a2, a3 = a3, want_items = want_items, want_bytes = want_bytes, contested = contested, turn = turn,
    acc0 = acc0, acc1 = acc1, acc2 = acc2, acc3 = acc3, coa0 = coa0, coa1 = coa1, coa2 = coa2, coa3 = coa3,
  }
end

local function know_others()
  local inflight, delayed, parked, dead, dead_bytes, blocks, suspended, generation, alone_turn, l0, l1, l2, l3, c0,
    c1, c2, c3, g0, g1, g2, g3, rejected_items, rejected_bytes, rejected_body =
    struct.unpack(HALF, packed, HALF_SIZE + 1)
  others = {
    inflight = inflight, delayed = delayed, parked = parked, dead = dead, dead_bytes = dead_bytes,
    blocks = blocks, suspended = suspended, generation = generation, alone_turn = alone_turn, l0 = l0, l1 = l1,
    l2 = l2, l3 = l3, c0 = c0, c1 = c1, c2 = c2, c3 = c3, g0 = g0, g1 = g1, g2 = g2, g3 = g3,
    rejected_items = rejected_items, rejected_bytes = rejected_bytes, rejected_body = rejected_body,
  }
  return others
end

-- Both halves. They change through bump, and reach Redis in store_counters or flush.
local function read_counters()
  if not counts then
    know(call('GET', COUNT))
  end
  return counts, others or know_others()
end

local function bump(field, by)
  if not counts then
    know(call('GET', COUNT))
  end
  local half = counts[field] and counts or others or know_others()
  half[field] = half[field] + by
end

local function store_counters()
  local first, second = counts, others
  local text = struct.pack(HALF,
    first.last, first.items, first.bytes, first.rb, first.r0, first.r1, first.r2, first.r3, first.a0, first.a1,
    first.a2, first.a3, first.want_items, first.want_bytes, first.contested, first.turn, first.acc0, first.acc1,
    first.acc2, first.acc3, first.coa0, first.coa1, first.coa2, first.coa3)
  if not second then
    if text ~= sub(packed, 1, HALF_SIZE) then
      call('SETRANGE', COUNT, 0, text)
      packed = text .. sub(packed, HALF_SIZE + 1)
    end
    return
  end
  text = text .. struct.pack(HALF,
    second.inflight, second.delayed, second.parked, second.dead, second.dead_bytes, second.blocks,
    second.suspended, second.generation, second.alone_turn, second.l0, second.l1, second.l2, second.l3,
    second.c0, second.c1, second.c2, second.c3, second.g0, second.g1, second.g2, second.g3,
    second.rejected_items, second.rejected_bytes, second.rejected_body)
  if text ~= packed then
    call('SET', COUNT, text)
    packed = text
  end
end

local function flush()
  if counts then
    store_counters()
  end
  if wake_wanted and call('LLEN', P .. 'wake') == 0 then
    call('RPUSH', P .. 'wake', '1')
  end
end
