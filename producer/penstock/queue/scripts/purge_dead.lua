#!lua flags=allow-oom
-- Removes dead letters, payload and all, because an operator says so.
-- KEYS[1]  meta
-- ARGV[1…] sequence numbers (8 bytes)
-- Returns  how many there were
-- Errors   LAYOUT n
-- Rules    promise 1 ends here for these writes, on purpose.
-- include: clock keys counters record mark dead settled
local layout = call('HGET', P .. 'meta', 'layout')
if layout and layout ~= LAYOUT then
  return redis.error_reply('LAYOUT ' .. layout)
end
local purged = {}
for i = 1, #ARGV do
  local info = call('HGET', P .. 'dead:info', ARGV[i])
  if info then
    local name, seq = sub(info, 24, 23 + struct.unpack('>H', info, 22)), number_of(ARGV[i])
    remove_letters(name, function(other) return other == seq end, false)
    purged[#purged + 1] = seen_of(ARGV[i], name)
  end
end
remember('p', purged)
flush()
return #purged
