-- How much one claim does: what is left over comes with the next one, so that nobody waits long for Redis.
-- Counted in small writes, of which each takes some 6 µs; more where the queue is far larger than the caches.
local WORK = 300
local VISIT, ASIDE = 2, 4       -- to look at a flow, and to set it aside as well
local MARK_WORK = 0.5           -- to mark a write
local BYTES = 6144              -- of a record, copied into Lua and out again
local FIRST_STEP, STEP = 8, 100 -- writes read at once: few until it is known how large they are
local work, largest = 0, nil

local function has_worked()
  return work >= WORK
end

-- How many writes to read at once, so that together they hardly take more than what is left.
local function step()
  return largest and math.max(1, math.min(STEP, math.floor((WORK - work) / (1 + largest / BYTES)))) or FIRST_STEP
end

-- Counts `total` records that were read; one that is gone is false.
local function count_work(records, total)
  largest = largest or 0
  for i = 1, total do
    local size = #(records[i] or '')
    work = work + 1 + math.floor(size / BYTES)
    largest = math.max(largest, size)
  end
end
