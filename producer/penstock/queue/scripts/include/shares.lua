-- How the priorities share claims: what each has ready, and the credit it has left of its weight. A batch is either of
-- critical writes or of others, and full if it can be: what a priority so gives beyond its credit it owes from then on.
local MAX_DELETES = 1000 -- keys a DeleteObjects request takes: S3 API reference, DeleteObjects
local WEIGHTS = { [0] = 8, 4, 2, 1 }
local ready, credit = {}, {}
local too_large = {} -- priorities whose next write does not fit an empty batch: a smaller one of another may

local function gives(priority)
  return ready[priority] > 0 and not too_large[priority]
end

-- Which of these priorities gives next, and how many: by credit while several have something, freely while one has.
local function choose(from, to)
  local only, several
  for priority = from, to do
    if gives(priority) then
      several = only ~= nil
      if several then
        break
      end
      only = priority
    end
  end
  if not several then
    return only, MAX_DELETES
  end
  local rounds = math.huge -- until one of them has credit again
  for priority = from, to do
    if gives(priority) and credit[priority] > 0 then
      return priority, credit[priority]
    elseif gives(priority) then
      rounds = math.min(rounds, math.floor(-credit[priority] / WEIGHTS[priority]) + 1)
    end
  end
  for priority = 0, 3 do
    local filled_up = credit[priority] + rounds * WEIGHTS[priority]
    -- What has nothing to give saves nothing up.
    credit[priority] = gives(priority) and filled_up or math.min(filled_up, WEIGHTS[priority])
  end
  return choose(from, to)
end

-- A priority gave so many. What it gave alone it does not owe.
local function charge_for(priority, taken)
  for other = 0, 3 do
    if other ~= priority and ready[other] > 0 then -- also one whose write does not fit: its turn comes back
      credit[priority] = credit[priority] - taken
      return
    end
  end
  for each = 0, 3 do
    credit[each] = WEIGHTS[each]
  end
end

local function waiting()
  return ready[0] + ready[1] + ready[2] + ready[3]
end
