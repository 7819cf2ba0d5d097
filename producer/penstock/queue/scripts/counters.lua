#!lua flags=allow-oom
-- The counters by name, and those that only grow carried over from a shard that is no more.
-- KEYS[1]  meta
-- ARGV     name, what it grows by, …
-- Returns  them as a flat list
-- Rules    none of section 6.
-- include: keys counters
for i = 1, #ARGV, 2 do
  bump(ARGV[i], tonumber(ARGV[i + 1]))
end
local flat = {}
for _, half in ipairs({ read_counters() }) do
  for name, value in pairs(half) do
    flat[#flat + 1] = name
    flat[#flat + 1] = value
  end
end
flush()
return flat
