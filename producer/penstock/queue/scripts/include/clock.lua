-- The queue's only clock: Redis TIME in microseconds, never a client's. Tests put a shifted one in its place.
local function clock()
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2]
end
