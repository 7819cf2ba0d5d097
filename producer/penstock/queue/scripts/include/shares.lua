-- How the priorities share a claim: what each has ready, and the credit it has left of its weight.
local MAX_DELETES = 1000 -- keys a DeleteObjects request takes: S3 API reference, DeleteObjects
local WEIGHTS = { [0] = 8, 4, 2, 1 }
local ready, credit = {}, {}
local too_large = {} -- priorities whose next write does not fit an empty batch: a smaller one of another may

local function gives(priority)
  return ready[priority] > 0 and not too_large[priority]
end

-- The priority that gives next, and how many: by credit while several have something, freely while one has.
local function choose()
  local only, several
  for priority = 0, 3 do
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
  for _ = 1, 2 do
    for priority = 0, 3 do
      if gives(priority) and credit[priority] > 0 then
        return priority, credit[priority]
      end
    end
    for priority = 0, 3 do
      credit[priority] = WEIGHTS[priority]
    end
  end
end

local function waiting()
  return ready[0] + ready[1] + ready[2] + ready[3]
end
