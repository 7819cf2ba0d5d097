#!lua
-- Gives a waiting write another priority; it keeps its age, its attempts and when it is due.
-- KEYS[1]  meta
-- ARGV[1]  priority   [2] name
-- Returns  'm' moved, '=' it has that priority, 'i' it is in flight, '-' there is no such write
-- Errors   LAYOUT n
-- Rules    none of section 6.
-- include: clock keys counters record state enter lane
local priority, name = tonumber(ARGV[1]), ARGV[2]
local layout = call('HGET', P .. 'meta', 'layout')
if layout and layout ~= LAYOUT then
  return redis.error_reply('LAYOUT ' .. layout)
end
local record, packed = call('HGET', WRITE, name), call('HGET', STATE, name)
if not record then
  return '-'
end
local state, before = packed and read_state(packed), byte(record, 17)
if state and state.status == INFLIGHT then
  return 'i'
elseif before == priority then
  return '='
end
local moved = sub(record, 1, 16) .. string.char(priority) .. sub(record, 18)
call('HSET', WRITE, name, moved)
if state then
  if state.status == ALONE then
    bump('l' .. state.priority, -1)
    bump('l' .. priority, 1)
  end
  state.priority = priority
  call('HSET', STATE, name, pack_state(state))
end
if not state or state.status == READY then
  local bucket = bucket_of(name)
  lane_remove(before, bucket .. '/' .. tenant_of(record), sub(name, #bucket + 2), charge_of(record))
  ready_from_record(name, moved)
end
flush()
return 'm'
