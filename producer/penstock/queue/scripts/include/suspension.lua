-- Suspended buckets: their destination is broken for every worker. Blocked for this reason, and in
-- suspended  hash  bucket -> {since, next, interval, probes, class, code, status} (msgpack; times in µs): the next probe
-- suspects   hash  bucket -> {worker -> when it found the bucket broken} (msgpack)
local SUSPENDED = 'suspended'
