#!lua flags=no-writes,allow-oom
-- The queue at a glance, in one round trip and bounded work.
-- KEYS[1]  meta
-- Returns  {now, meta as a flat list, count as a flat list, head since of priority 0 … 3 or false}
-- include: clock keys
local heads = {}
for priority = 0, 3 do
  heads[priority + 1] = call('ZRANGE', P .. 'heads:' .. priority, 0, 0, 'WITHSCORES')[2] or false
end
return { string.format('%.0f', clock()), call('HGETALL', P .. 'meta'), call('HGETALL', COUNT), heads[1], heads[2], heads[3], heads[4] }
