"""A producer's local spool: writes accepted while Redis is away lie on this host's disk, and are replayed in order.

Loaded only when a producer has one. docs/spool.md says what it promises.
"""
