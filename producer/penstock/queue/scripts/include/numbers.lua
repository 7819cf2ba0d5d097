-- Sequence numbers and the server that gives them; see epoch.lua.
local CATCH_UP = 4 -- an epoch's numbers go on at a quarter of the clock's pace until it has caught up with them

-- The least number that a write gets now. It follows the clock also while an epoch's numbers are ahead of it, so that a
-- number always tells a time.
local function least_number(now, seq, at)
  return seq and math.max(now, tonumber(seq) + math.floor((now - tonumber(at)) / CATCH_UP)) or now
end

-- Whether the server that the queue knows has this replication id: of the two ids it is the one that always changes, and it
-- costs a quarter to ask for.
local function is_server(known_as, id)
  return sub(known_as, -#id - 1) == ':' .. id
end
