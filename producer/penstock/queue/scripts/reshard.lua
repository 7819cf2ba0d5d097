#!lua flags=allow-oom
-- Closes a shard to producers while the number of shards is being changed, and opens it again with a number. What shard 0
-- says counts.
-- KEYS[1]  meta
-- ARGV[1]  token of who changes it; the last one to close a shard is the one that may open it
-- ARGV[2]  number of shards until now, to close; or ARGV[2] '' and to open [3] number of shards
--          [4] items, [5] bytes, [6] bytes of dead letters: the shard's part   [7] the queue's last sequence number
--          [8] epoch_seq, [9] epoch_at, [10] epoch_until: the queue's last epoch, see epoch.lua, if it had any
-- Returns  1, or 0 when somebody else has closed it since, or it was open: what was seen of it then holds no more
-- Errors   LAYOUT n
-- Rules    EPOCH: a loss that nobody has noticed yet is when it is closed, and an epoch goes on in all shards. Promise 2:
--          sequence numbers grow when a name comes to another shard.
-- include: clock server keys counters numbers epoch
local meta = call('HMGET', P .. 'meta', 'layout', 'shards', 'shards_was', 'shards_by', 'epoch_of')
if meta[1] and meta[1] ~= LAYOUT then
  return redis.error_reply('LAYOUT ' .. meta[1])
elseif ARGV[2] ~= '' then
  if meta[5] and meta[5] ~= server() then
    begin_epoch(clock())
  end
  call('HSET', P .. 'meta', 'layout', LAYOUT, 'shards', 0, 'shards_was', meta[3] or ARGV[2], 'shards_by', ARGV[1])
  return 1
elseif meta[2] ~= '0' or meta[4] ~= ARGV[1] then
  return 0
end
call('HSET', P .. 'meta', 'shards', ARGV[3], 'items', ARGV[4], 'bytes', ARGV[5], 'dead_bytes', ARGV[6])
call('HDEL', P .. 'meta', 'shards_was', 'shards_by')
if ARGV[8] then
  call('HDEL', P .. 'meta', 'epoch_until')
  call('HSET', P .. 'meta', 'epoch_seq', ARGV[8], 'epoch_at', ARGV[9])
end
if ARGV[10] then
  call('HSET', P .. 'meta', 'epoch_until', ARGV[10])
end
call('HSETNX', P .. 'meta', 'epoch_of', server())
local last = tonumber(ARGV[7])
bump('last', math.max(0, last - counter('last')))
flush()
return 1
