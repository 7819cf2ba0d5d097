#!lua flags=no-writes,allow-oom
-- The queue at a glance, in one round trip and bounded work.
-- KEYS[1]  meta
-- Returns  {now, meta as a flat list, counters as a flat list, head since of priority 0 … 3 or false, blocks and suspended
--          buckets as flat lists}
-- Errors   LAYOUT n: its numbers may mean something else
-- include: clock keys counters state
local layout = call('HGET', P .. 'meta', 'layout')
if layout and layout ~= LAYOUT then
  return redis.error_reply('LAYOUT ' .. layout)
end
local heads, apart = {}, call('ZRANGE', P .. 'alone', 0, 0, 'WITHSCORES')
local packed = apart[1] and call('HGET', P .. 'state', apart[1])
for priority = 0, 3 do
  local active = call('ZRANGE', P .. 'heads:' .. priority, 0, 0, 'WITHSCORES')[2]
  local aside = call('ZRANGE', P .. 'aside:' .. priority, 0, 0, 'WITHSCORES')[2]
  heads[priority + 1] = aside and (not active or tonumber(aside) < tonumber(active)) and aside or active or false
end
if packed then
  local at = read_state(packed).priority + 1
  heads[at] = heads[at] and tonumber(heads[at]) < tonumber(apart[2]) and heads[at] or apart[2]
end
local counters = {}
for _, half in ipairs({ read_counters() }) do
  for name, value in pairs(half) do
    counters[#counters + 1] = name
    counters[#counters + 1] = value
  end
end
return { string.format('%.0f', clock()), call('HGETALL', P .. 'meta'), counters,
  heads[1], heads[2], heads[3], heads[4], call('HGETALL', P .. 'blocks'), -- at most 1,000, see blocks.lua
  call('HGETALL', P .. 'suspended') }
