#!lua flags=allow-oom
-- The guard's verdicts on names it has looked at.
-- KEYS[1]  meta
-- ARGV[1]  µs until a repaired name is looked at again   [2…] per name: name, generation (8 bytes) that was seen, verdict:
--          'f' the object is right, or newer, or somebody else's: the mark goes; 'r' it is older than what was stored
-- Returns  one letter each: 'f' mark taken off, 'r' repair queued, 'c' refused, because the mark or what is retained has
--          changed since the look, 'b' refused, because the name is busy
-- Errors   LAYOUT n
-- Rules    CAS; KEEP: queueing a repair leaves mark and retained payload. A repair is a write like any other from here on.
-- include: clock keys counters record enter lane mark
local recheck, now, answer = tonumber(ARGV[1]), clock(), {}
local layout = call('HGET', P .. 'meta', 'layout')
if layout and layout ~= LAYOUT then
  return redis.error_reply('LAYOUT ' .. layout)
end

local function repair(name)
  local retained = call('HGET', RETAINED, name)
  -- It waits from now on: its first wait is over, and must not look like a backlog's.
  local record = sub(retained, 1, 9) .. struct.pack('>I7', now) .. sub(retained, 17)
  call('HSET', WRITE, name, record)
  ready_from_record(name, record)
  bump('items', 1)
  bump('bytes', charge_of(record))
  call('ZADD', P .. 'contested', now + recheck, name)
end

for i = 2, #ARGV, 3 do
  local name, packed = ARGV[i], call('HGET', MARK, ARGV[i])
  if not packed or sub(packed, 8) ~= ARGV[i + 1] or (struct.unpack('>I7', packed)) > now then
    answer[#answer + 1] = 'c'
  elseif call('HEXISTS', WRITE, name) == 1 then
    answer[#answer + 1] = 'b'
  elseif ARGV[i + 2] == 'r' then
    repair(name)
    answer[#answer + 1] = 'r'
  else
    clear_mark(name)
    answer[#answer + 1] = 'f'
  end
end
flush()
return table.concat(answer)
