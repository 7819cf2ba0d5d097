-- When a batch is due. Set by claim, before it asks:
local now, is_paused, only_critical  -- µs; whether it has room for critical writes only
local max_items, max_bytes, max_wait -- what fills a batch, and how long its oldest write waits for that, µs
local ready_bytes, any_set_aside     -- what is ready in the lanes; whether some of it is set aside

-- Bytes are counted for all lanes together: while some are set aside, they do not tell whether a batch is full, and it
-- leaves by number and by age.
local function full()
  return waiting() >= max_items or (ready_bytes >= max_bytes and not any_set_aside)
end

-- nil when a batch is due now, else the time it will be, or -1 when nothing waits.
local function due_at()
  if is_paused or (only_critical and ready[0] or waiting()) == 0 then
    return -1
  end
  if ready[0] > 0 or full() then
    return nil
  end
  local oldest
  for priority = 1, 3 do
    if ready[priority] > 0 then
      local head = call('ZRANGE', P .. 'heads:' .. priority, 0, 0, 'WITHSCORES')
      if head[2] and (not oldest or tonumber(head[2]) < oldest) then
        oldest = tonumber(head[2])
      end
    end
  end
  if not oldest or oldest + max_wait <= now then
    return nil
  end
  return oldest + max_wait
end
