-- The queue's only clock: Redis TIME in microseconds, never a client's, as a number and as text, which Lua is slow to make.
-- Tests put a shifted one in its place.
local function clock()
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2], t[1] .. string.sub('00000' .. t[2], -6)
end
