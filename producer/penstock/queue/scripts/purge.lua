#!lua flags=allow-oom
-- Removes waiting writes, payload and all, because an operator says so.
-- KEYS[1]  meta
-- ARGV[1…] per write: name, sequence number (8 bytes)
-- Returns  one letter each: 'p' purged, 'i' left, because it is in flight, '-' left, because it is gone or a newer write
--          took its place
-- Errors   LAYOUT n
-- Rules    promise 1 ends here for these writes, on purpose. A mark and what is retained stay.
-- include: clock keys counters record state enter lane mark alone settled
local layout, answer, purged = call('HGET', P .. 'meta', 'layout'), {}, {}
if layout and layout ~= LAYOUT then
  return redis.error_reply('LAYOUT ' .. layout)
end

local function purge(name, id)
  local record, packed = call('HGET', WRITE, name), call('HGET', STATE, name)
  local state = packed and read_state(packed)
  if state and state.status == INFLIGHT then
    return 'i'
  elseif not record or sub(record, 2, 9) ~= id then
    return '-'
  end
  local size, bucket = charge_of(record), bucket_of(name)
  if state and state.status == DELAYED then
    call('ZREM', P .. 'due', name)
    bump('delayed', -1)
  elseif state and state.status == PARKED then
    call('ZREM', P .. 'parked', name)
    bump('parked', -1)
  elseif state and state.status == ALONE then
    leave_alone(name, state)
  else
    lane_remove(byte(record, 17), bucket .. '/' .. tenant_of(record), sub(name, #bucket + 2), size)
  end
  call('HDEL', WRITE, name)
  release_blob(name, record)
  call('HDEL', STATE, name)
  call('HDEL', P .. 'failure', name)
  bump('items', -1)
  bump('bytes', -size)
  purged[#purged + 1] = seen_of(id, name)
  return 'p'
end

for i = 1, #ARGV, 2 do
  answer[#answer + 1] = purge(ARGV[i], ARGV[i + 1])
end
remember('p', purged)
flush()
return table.concat(answer)
