-- Counters: doubles in two strings, because reading and writing many fields of a hash costs more than anything else in an
-- enqueue. The first string is what enqueue needs, which leaves the other one alone if it can.
local HALF, HALF_SIZE = '<dddddddddddddddddddddddd', 192
local first, second, counts, others, wake_wanted -- as they are in Redis; the two halves by name

-- `text`: what `count` holds, if it is there.
local function know(text)
  first = text or string.rep('\0', HALF_SIZE)
  local last, items, bytes, rb, r0, r1, r2, r3, a0, a1, a2, a3, want_items, want_bytes, contested, turn, acc0, acc1,
    acc2, acc3, coa0, coa1, coa2, coa3 =
    struct.unpack(HALF, first)
  counts = {
    last = last, items = items, bytes = bytes, rb = rb, r0 = r0, r1 = r1, r2 = r2, r3 = r3, a0 = a0, a1 = a1,
    a2 = a2, a3 = a3, want_items = want_items, want_bytes = want_bytes, contested = contested, turn = turn,
    acc0 = acc0, acc1 = acc1, acc2 = acc2, acc3 = acc3, coa0 = coa0, coa1 = coa1, coa2 = coa2, coa3 = coa3,
  }
end

local function know_others(text)
  second = text or string.rep('\0', HALF_SIZE)
  local inflight, delayed, parked, dead, dead_bytes, blocks, suspended, generation, alone_turn, l0, l1, l2, l3, c0,
    c1, c2, c3, g0, g1, g2, g3, rejected_items, rejected_bytes, rejected_body =
    struct.unpack(HALF, second)
  others = {
    inflight = inflight, delayed = delayed, parked = parked, dead = dead, dead_bytes = dead_bytes,
    blocks = blocks, suspended = suspended, generation = generation, alone_turn = alone_turn, l0 = l0, l1 = l1,
    l2 = l2, l3 = l3, c0 = c0, c1 = c1, c2 = c2, c3 = c3, g0 = g0, g1 = g1, g2 = g2, g3 = g3,
    rejected_items = rejected_items, rejected_bytes = rejected_bytes, rejected_body = rejected_body,
  }
end

-- Both halves. What is changed in them reaches Redis in store_counters or flush.
local function read_counters()
  if not counts then
    know(call('GET', COUNT))
  end
  if not others then
    know_others(call('GET', COUNT .. ':more'))
  end
  return counts, others
end

-- The half that holds a counter.
local function half_of(field)
  if not counts then
    know(call('GET', COUNT))
  end
  if counts[field] then
    return counts
  end
  read_counters()
  return others
end

local function counter(field)
  return half_of(field)[field]
end

local function bump(field, by)
  local half = half_of(field)
  half[field] = half[field] + by
end

local function store_counters()
  local c, o = counts, others
  local text = struct.pack(HALF,
    c.last, c.items, c.bytes, c.rb, c.r0, c.r1, c.r2, c.r3, c.a0, c.a1, c.a2, c.a3, c.want_items, c.want_bytes,
    c.contested, c.turn, c.acc0, c.acc1, c.acc2, c.acc3, c.coa0, c.coa1, c.coa2, c.coa3)
  if text ~= first then
    call('SET', COUNT, text)
    first = text
  end
  if not o then
    return
  end
  text = struct.pack(HALF,
    o.inflight, o.delayed, o.parked, o.dead, o.dead_bytes, o.blocks, o.suspended, o.generation, o.alone_turn,
    o.l0, o.l1, o.l2, o.l3, o.c0, o.c1, o.c2, o.c3, o.g0, o.g1, o.g2, o.g3, o.rejected_items, o.rejected_bytes,
    o.rejected_body)
  if text ~= second then
    call('SET', COUNT .. ':more', text)
    second = text
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
