-- Which server answers. One that restarts has a new run id and a new replication id; one that is made a master has a new
-- replication id, also when it was one before. Tests put others in their place.
local function replication_id()
  local info = redis.call('INFO', 'replication')
  local _, at = string.find(info, 'master_replid:', 1, true) -- each enqueue asks: a pattern takes a third longer
  return at and string.sub(info, at + 1, at + 40) or ''
end

local function server()
  return (string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or '') .. ':' .. replication_id()
end
