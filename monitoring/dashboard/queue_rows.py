"""What is in the queue, and how long a write takes through it."""

from __future__ import annotations

from monitoring.dashboard.expressions import kept, kept_rate, quantile, rate
from monitoring.dashboard.panels import BLUE, GREEN, GREY, ORANGE, RED, Graph, Query
from monitoring.dashboard.well import FULL

LATENCY = "penstock_write_latency_seconds"
ACCEPTED = "penstock_accepted_writes_total"
COALESCED = "penstock_coalesced_writes_total"
SET_ASIDE = kept("penstock_queue_set_aside")

QUEUE = (
    Graph(
        "Writes by state",
        "All that is in the queue. Ready: a worker may take it. Set aside: ready, but its bucket or tenant is "
        "suspended or paused. Delayed: it failed and comes again later. In flight: a worker has it.",
        "short",
        (
            Query(f"sum({kept('penstock_queue_writes', 'priority', state='ready')}) - {SET_ASIDE}", "ready"),
            Query(SET_ASIDE, "set aside"),
            Query(kept("penstock_queue_writes", state="delayed"), "delayed"),
            Query(kept("penstock_queue_writes", state="inflight"), "in flight"),
        ),
        stacked=True,
        colours=(("ready", BLUE), ("set aside", "purple"), ("delayed", ORANGE), ("in flight", GREEN)),
    ),
    Graph(
        "Ready writes by priority",
        "Urgent goes first: with workers up, critical and high stay near zero even when low ones pile up.",
        "short",
        (Query(kept("penstock_queue_writes", "priority", state="ready"), "{{priority}}"),),
        stacked=True,
    ),
    Graph(
        "Oldest waiting write by priority",
        "How long the oldest ready write of each priority has waited. A line that rises by a second a second means "
        "that nothing of that priority is taken.",
        "s",
        (Query(kept("penstock_queue_oldest_age_seconds", "priority"), "{{priority}}"),),
    ),
    Graph(
        "Accepted and stored",
        "Writes a second that producers handed over, that replaced a waiting one, and that reached S3. The queue grows "
        "while accepted is above the two others together.",
        "wps",
        (
            Query(f"sum({kept_rate(ACCEPTED, 'priority')})", "accepted"),
            Query(f"sum({kept_rate(COALESCED, 'priority')})", "coalesced"),
            Query(rate("penstock_writes_total", outcome="stored|deleted"), "stored or deleted"),
        ),
        colours=(("accepted", BLUE), ("coalesced", GREY), ("stored or deleted", GREEN)),
    ),
    Graph(
        "Queue against its limits",
        "At 100 % of items or bytes producers get QueueFull; at 100 % of dead_bytes writes that would become dead "
        "letters stay in the queue. `penstock queue configure` changes the limits.",
        "percentunit",
        (Query(f"{kept('penstock_queue_used', 'unit')} / {kept('penstock_queue_limit', 'unit')}", "{{unit}}"),),
        steps=FULL,
    ),
    Graph(
        "Refused writes",
        "Writes a second that the queue refused, by which limit: items, bytes, or a large body that came too late. "
        "Their producers got an error and know it. Zero is normal.",
        "wps",
        (Query(kept_rate("penstock_rejected_writes_total", "reason"), "{{reason}}"),),
        colours=(("items", RED), ("bytes", ORANGE)),
    ),
)

LATENCIES = tuple(
    Graph(
        f"Accept to stored, {name}",
        f"{text}, from when it was accepted until it was in S3, by priority. No line where nothing was stored.",
        "s",
        (Query(quantile(share, LATENCY, "priority"), "{{priority}}"),),
    )
    for share, name, text in (
        (0.5, "p50", "How long the middle write took"),
        (0.95, "p95", "How long 19 writes of 20 took at the most"),
        (0.99, "p99", "How long 99 writes of 100 took at the most"),
    )
)
