#!lua flags=allow-oom
-- What the guard should look at now: idle names whose mark is due. Those with nothing retained need no look: their mark is
-- taken off here. Each name handed out is put off, so that no other guard looks at the same time.
-- KEYS[1]  meta
-- ARGV[1]  most names a call   [2] µs until a name handed out is due again   [3] the same for a name that is busy
-- Returns  {ms until the next is due or -1, marks taken off, per name: name, generation (8 bytes), sequence number
--          (8 bytes) of the retained write, 1 for a delete}
-- Errors   LAYOUT n
-- Rules    CAS: only a due mark of an idle name.
-- include: clock keys counters record mark
local limit, hold, busy, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), clock()
local layout = call('HGET', P .. 'meta', 'layout')
if layout and layout ~= LAYOUT then
  return redis.error_reply('LAYOUT ' .. layout)
end
local cleared, reply = 0, {}
local names = call('ZRANGEBYSCORE', P .. 'contested', '-inf', now, 'LIMIT', 0, limit)
for i = 1, #names do
  local name = names[i]
  local retained = call('HGET', RETAINED, name)
  if call('HEXISTS', WRITE, name) == 1 then
    call('ZADD', P .. 'contested', now + busy, name)
  elseif not retained then
    clear_mark(name)
    cleared = cleared + 1
  else
    call('ZADD', P .. 'contested', now + hold, name)
    reply[#reply + 1] = name
    reply[#reply + 1] = sub(call('HGET', MARK, name), 8)
    reply[#reply + 1] = sub(retained, 2, 9)
    reply[#reply + 1] = byte(retained, 18) % 2
  end
end
local soonest = call('ZRANGE', P .. 'contested', 0, 0, 'WITHSCORES')[2]
flush()
return { soonest and math.max(0, math.ceil((soonest - now) / 1000)) or -1, cleared, unpack(reply) }
