"""What the state machine of the queue draws from."""

from __future__ import annotations

from hypothesis import strategies as st

from penstock.queue.names import PRIORITIES
from penstock.queue.results import Outcome
from tests.support.queue import PLENTY
from tests.support.queue_parts import ClaimOptions

WRITES = st.tuples(
    st.sampled_from(["a", "b"]),
    st.sampled_from(["bucket-1", "bucket-2"]),
    st.sampled_from(PRIORITIES),
    st.sampled_from(["", "t"]),
    st.sampled_from(["put", "put", "long", "large", "delete"]),
)
CALLS = st.lists(st.lists(WRITES, min_size=1, max_size=4), min_size=1, max_size=3)
CLAIMS = st.builds(
    ClaimOptions,
    max_items=st.sampled_from([1, 2, 3, 25]),
    max_bytes=st.sampled_from([150, 500, PLENTY]),
    max_wait=st.sampled_from([0, 0, 1.5]),
    budget=st.sampled_from([60, 300, PLENTY, PLENTY]),
    holds_none=st.booleans(),
    batches=st.integers(1, 3),
    only_critical=st.sampled_from([False, False, True]),
)
SETTLES = st.lists(
    st.tuples(
        st.sampled_from([*(one for one in Outcome if one is not Outcome.OVERTAKEN), Outcome.STORED, Outcome.DEAD]),
        st.sampled_from([True, True, False]),
        st.sampled_from([0.0, 0.7, 20.0]),
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
)
SUBJECTS = st.sampled_from(
    [(None, None), ("bucket-1", None), ("bucket-2", None), ("bucket-1", ""), ("bucket-1", "t"), ("bucket-2", "t")]
)
REASONS = st.sampled_from(["pause", "breaker"])
Settle = tuple[Outcome, bool, float, bool]
"""Outcome, counted, delay, and whether S3 took the write at once, where that is not known."""
EVERYTHING = ClaimOptions(25, PLENTY, 0, PLENTY, True, 1)
