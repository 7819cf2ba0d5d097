"""The contenders, each set up as its own documentation would, and each run as a process of its own on the interpreter
of ``.bench``. They take calls as `benchmarks.peers.serve` says."""
