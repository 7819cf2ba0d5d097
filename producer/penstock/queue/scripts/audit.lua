#!lua flags=allow-oom
-- Notes that an operator changed something; the newest entries are kept. Without memory too, when purging is what helps.
-- KEYS[1]  meta
-- ARGV[1]  who   [2] command   [3] what (JSON)   [4] how many   [5] error, or ''
-- Returns  the entry's id, whose first part is the time in ms
-- Rules    none of section 6.
-- include: clock keys
local ENTRIES = 10000 -- about; some megabytes
return call('XADD', P .. 'audit', 'MAXLEN', '~', ENTRIES, '*',
  'who', ARGV[1], 'command', ARGV[2], 'what', ARGV[3], 'count', ARGV[4], 'error', ARGV[5])
