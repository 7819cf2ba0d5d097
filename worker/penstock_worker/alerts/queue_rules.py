"""Rules about the queue: what waits in it, for how long, and how full it is. An exporter alone is enough for them."""

from __future__ import annotations

from penstock_worker.alerts.rule import Group, Rule, Severity, held, total

_DEAD = 'penstock_queue_writes{state="dead"}'
_DEATHS = 'penstock_writes_total{outcome="dead"}'


def _oldest(severity: Severity, *priorities: str) -> Rule:
    age = 'max by (namespace, queue, priority) (penstock_queue_oldest_age_seconds{{priority="{0}"}}) > <oldest_{0}>'
    return Rule(
        "PenstockOldestWriteTooOld",
        severity,
        "\nor ".join(age.format(priority) for priority in priorities),
        "A write of priority {{ $labels.priority }} waits too long",
        "The oldest ready write of priority {{ $labels.priority }}<which> has waited for"
        " {{ $value | humanizeDuration }}.",
        "oldest_for",
    )


def _nearly_full(severity: Severity) -> Rule:
    return Rule(
        "PenstockQueueNearlyFull",
        severity,
        "max by (namespace, queue, unit) (penstock_queue_used)\n"
        f"  / max by (namespace, queue, unit) (penstock_queue_limit) > <nearly_full_{severity}>",
        "The queue's limit of {{ $labels.unit }} is nearly reached",
        "{{ $value | humanizePercentage }} of the limit of {{ $labels.unit }}<which> is used; when it is reached, new"
        " writes are refused (items, bytes), or failing writes stay in the queue (dead_bytes).",
        "nearly_full_for",
    )


GROUP = Group(
    "penstock-queue",
    (
        Rule(
            "PenstockBacklogGrowing",
            "warning",
            f"{held('ready|delayed')} >= <backlog_writes>\n"
            f"and {held('ready|delayed')}\n"
            f"  > {held('ready|delayed', ' offset <backlog_window>')}",
            "The backlog grows",
            "{{ $value | humanize }} writes<which> wait, and for <backlog_for> it has been more than <backlog_window>"
            " before.",
            "backlog_for",
        ),
        _oldest("critical", "critical", "high"),
        _oldest("warning", "normal", "low"),
        _nearly_full("warning"),
        _nearly_full("critical"),
        Rule(
            "PenstockDeadLetters",
            "warning",
            # Of both sources, because a worker's count dies with it, and the number in the queue hides a new letter
            # when an old one was purged.
            f"round({total('increase', _DEATHS, 'dead_letters_window')}) > 0\n"
            f"or max by (namespace, queue) ({_DEAD})\n"
            f"  - min by (namespace, queue) (min_over_time({_DEAD}[<dead_letters_window>])) > 0",
            "There are new dead letters",
            "{{ $value | humanize }} writes<which> became dead letters in <dead_letters_window>.",
        ),
    ),
)
