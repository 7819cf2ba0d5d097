-- Which server answers. One that restarts has a new run id and a new replication id; one that is made a master has a new
-- replication id, also when it was one before. Tests put others in their place.
local function replication_id()
  return string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)') or ''
end

local function server()
  return (string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or '') .. ':' .. replication_id()
end
