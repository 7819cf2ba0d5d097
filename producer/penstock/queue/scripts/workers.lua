#!lua flags=no-writes,allow-oom
-- The workers that have beaten lately, the latest first.
-- KEYS[1]  meta
-- ARGV[1]  the longest silence, µs
-- Returns  {now, per worker: id, time of its last beat, facts}
-- Errors   LAYOUT n: their facts may mean something else
-- Rules    changes nothing.
-- include: clock keys
local MAX_WORKERS = 1000 -- there are no more, see beat.lua
local layout = call('HGET', P .. 'meta', 'layout')
if layout and layout ~= LAYOUT then
  return redis.error_reply('LAYOUT ' .. layout)
end
local now = clock()
local found = call('ZRANGE', P .. 'worker', '+inf', now - ARGV[1], 'BYSCORE', 'REV', 'LIMIT', 0, MAX_WORKERS, 'WITHSCORES')
local reply = { string.format('%.0f', now) }
for i = 1, #found, 2 do
  reply[#reply + 1] = found[i]
  reply[#reply + 1] = found[i + 1]
  reply[#reply + 1] = call('HGET', P .. 'workers', found[i]) or ''
end
return reply
