#!lua flags=no-writes,allow-oom
-- The flows whose oldest ready write has waited longest, some of each priority, however many there are.
-- KEYS[1]  meta
-- ARGV[1]  most flows a priority, at most 50
-- Returns  {now, how many flows have something ready of priority 0 … 3;
--          per flow: priority, flow, age's begin, writes ready, 1 when it is set aside}
-- Errors   LAYOUT n
-- Rules    changes nothing.
-- include: clock keys
local most = math.min(tonumber(ARGV[1]), 50)
local layout = call('HGET', P .. 'meta', 'layout')
if layout and layout ~= LAYOUT then
  return redis.error_reply('LAYOUT ' .. layout)
end
local reply = { string.format('%.0f', clock()) }
for priority = 0, 3 do
  reply[priority + 2] = call('ZCARD', P .. 'heads:' .. priority) + call('ZCARD', P .. 'aside:' .. priority)
end
for priority = 0, 3 do
  for aside, key in ipairs({ 'heads:', 'aside:' }) do
    local found = call('ZRANGE', P .. key .. priority, 0, most - 1, 'WITHSCORES')
    for i = 1, #found, 2 do
      reply[#reply + 1] = priority
      reply[#reply + 1] = found[i]
      reply[#reply + 1] = found[i + 1]
      reply[#reply + 1] = call('ZCARD', P .. 'lane:' .. priority .. ':' .. found[i])
      reply[#reply + 1] = aside - 1
    end
  end
end
return reply
