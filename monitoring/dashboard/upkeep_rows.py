"""What is spared, what needs somebody's hand, and who does the work."""

from __future__ import annotations

from monitoring.dashboard.expressions import SHORT, increase, kept, kept_rate, rate, select
from monitoring.dashboard.panels import BLUE, GREEN, GREY, ORANGE, RED, Graph, Query, Stat
from monitoring.dashboard.queue_rows import ACCEPTED, COALESCED
from monitoring.dashboard.well import SILENT, SKEW_SECONDS

BODY, SENT = "penstock_body_bytes_total", "penstock_stored_bytes_total"

SAVINGS = (
    Graph(
        "Bytes to S3",
        "Bodies as producers gave them, as they were sent, and the difference: what compression saved.",
        "binBps",
        (
            Query(rate(BODY), "as given"),
            Query(rate(SENT), "as sent"),
            Query(f"{rate(BODY)} - {rate(SENT)}", "saved"),
        ),
        signed=True,
        colours=(("as given", GREY), ("as sent", BLUE), ("saved", GREEN)),
    ),
    Graph(
        "Shares saved",
        "Of bytes by compression; of accepted writes by coalescing, because a newer one of their key came before they "
        "were sent.",
        "percentunit",
        (
            Query(f"1 - {rate(SENT)} / {rate(BODY)}", "bytes, by compression"),
            Query(
                f"sum({kept_rate(COALESCED, 'priority')}) / sum({kept_rate(ACCEPTED, 'priority')})",
                "writes, by coalescing",
            ),
        ),
        highest=1,
        signed=True,
        colours=(("bytes, by compression", GREEN), ("writes, by coalescing", BLUE)),
    ),
    Stat(
        "Bytes saved",
        "By compression, in the time that the dashboard shows.",
        "bytes",
        (Query(f"{increase(BODY, window='$__range')} - {increase(SENT, window='$__range')}", "bytes"),),
    ),
    Stat(
        "Writes saved",
        "By coalescing, in the time that the dashboard shows: requests that S3 did not get, nor bill.",
        "short",
        # A sum of rates: the counter is read through one worker after the other, which come and go.
        (
            Query(
                f"sum_over_time(sum({kept_rate(COALESCED, 'priority')})[$__range:$__interval]) * $__interval_ms / 1000",
                "writes",
            ),
        ),
    ),
)

TROUBLE = (
    Graph(
        "Dead letters kept",
        "Writes that were given up and are kept with their payload until you send them again or purge them.",
        "short",
        (Query(kept("penstock_queue_writes", state="dead"), "dead letters"),),
        stepped=True,
    ),
    Graph(
        "New dead letters",
        "In 5 minutes. Zero is normal; a burst after a release is a fault of the application's writes.",
        "short",
        (Query(increase("penstock_writes_total", outcome="dead", window=SHORT), "dead letters"),),
    ),
    Graph(
        "Contested objects and the guard",
        "Objects on which an old request may still land, because its answer was lost. The guard looks at each after 16 "
        "minutes and repairs it if it is old; nothing needs to be done. Looks are per 5 minutes, by what was found. "
        "While an epoch lasts, which begins when Redis restarts, each object that is written is contested.",
        "short",
        (
            Query(kept("penstock_queue_writes", state="contested"), "contested"),
            Query(increase("penstock_guard_looks_total", "outcome", window=SHORT), "looks: {{outcome}}"),
            Query(kept("penstock_epoch_seconds_left"), "epoch: seconds left"),
        ),
        colours=(("contested", ORANGE), ("looks: fine", GREEN), ("looks: repair", BLUE), ("looks: failed", RED)),
    ),
)

WORKERS = (
    Graph(
        "Workers and targets",
        "Workers that Prometheus can read, and targets of any kind that it cannot.",
        "none",
        (
            Query(f"count({select('penstock_batch_items_count')})", "workers up"),
            Query(SILENT, "not answering"),
        ),
        stepped=True,
        span=6,
        colours=(("workers up", GREEN), ("not answering", RED)),
    ),
    Graph(
        "Claims by worker",
        "Batches a second that each worker took. One far below the others is short of CPU or cut off.",
        "cps",
        (Query(rate("penstock_batch_items_count", "instance"), "{{instance}}"),),
        span=6,
    ),
    Graph(
        "Stored by worker",
        "Writes a second that each worker stored or deleted.",
        "wps",
        (Query(rate("penstock_writes_total", "instance", outcome="stored|deleted"), "{{instance}}"),),
        span=6,
    ),
    Graph(
        "Clock skew by host",
        "Each host's clock minus Redis's, in seconds. A worker that is more than 30 s off, either way, sends nothing.",
        "s",
        (Query(f"max by (instance) ({select('penstock_clock_skew_seconds')})", "{{instance}}"),),
        steps=SKEW_SECONDS,
        span=6,
        signed=True,
    ),
)
