#!lua flags=no-writes,allow-oom
-- The workers that have beaten lately, the latest first. Their facts are read outside: Lua would copy megabytes.
-- KEYS[1]  meta
-- ARGV[1]  the longest silence, µs
-- Returns  {now, {worker, time of its last beat, worker, …}}
-- Errors   LAYOUT n: their facts may mean something else
-- Rules    changes nothing.
-- include: clock keys
local MAX_WORKERS = 1000 -- there are no more, see beat.lua
local layout = call('HGET', P .. 'meta', 'layout')
if layout and layout ~= LAYOUT then
  return redis.error_reply('LAYOUT ' .. layout)
end
local now = clock()
return { string.format('%.0f', now),
  call('ZRANGE', P .. 'worker', '+inf', now - ARGV[1], 'BYSCORE', 'REV', 'LIMIT', 0, MAX_WORKERS, 'WITHSCORES') }
