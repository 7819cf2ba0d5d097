#!lua flags=allow-oom
-- Blocks a bucket, a flow or the whole queue for a reason: claims leave it alone until the reason is taken back.
-- KEYS[1]  meta
-- ARGV[1]  subject: a bucket, 'bucket/tenant', or '' for the whole queue   [2] reason   [3] note, shown with it
-- Returns  1, 0 when it was blocked for this reason already, -1 when there are as many blocks as can be
-- Errors   LAYOUT n
-- Rules    none of section 6. A write in flight is not called back.
-- include: clock keys counters blocks
local layout = call('HGET', P .. 'meta', 'layout')
if layout and layout ~= LAYOUT then
  return redis.error_reply('LAYOUT ' .. layout)
end
local answer = add_block(ARGV[1], ARGV[2], ARGV[3], clock())
flush()
return answer
