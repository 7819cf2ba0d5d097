#!lua flags=allow-oom
-- Renews the leases of claims that a worker still works on.
-- KEYS[1]  meta
-- ARGV[1]  lease, ms   [2] greatest age of a claim, ms   [3…] tokens
-- Returns  one letter a token: '1' renewed, '0' gone (swept, if only in part, or settled), 'c' too old to be renewed
-- Rules    CAP: a hung call cannot hold a name for ever.
-- include: clock keys
local now, lease, cap, answer = clock(), ARGV[1] * 1000, ARGV[2] * 1000, {}
for i = 3, #ARGV do
  local birth = tonumber(call('HGET', P .. 'claim:' .. ARGV[i], '@'))
  if not birth or birth == 0 then -- the sweep has begun to take it back
    answer[#answer + 1] = '0'
  elseif now - birth > cap then
    answer[#answer + 1] = 'c'
  else
    call('ZADD', P .. 'lease', 'XX', now + lease, ARGV[i])
    answer[#answer + 1] = '1'
  end
end
return table.concat(answer)
