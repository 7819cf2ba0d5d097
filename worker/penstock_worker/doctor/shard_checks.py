"""Do the queue's shards agree about how many they are?"""

from __future__ import annotations

from penstock_worker.doctor.base import Check, Finding, broken, ok
from penstock_worker.doctor.site import Site


def shards(site: Site) -> Finding:
    queue = site.queue()
    count = len(queue.shards)
    told = [shard.stats().shards for shard in queue.shards]
    remedy = f"unless a command is changing it just now: penstock queue configure --shards {count}"
    if 0 in told:
        return broken(f"the number of shards, {count}, is being changed: producers wait, or fail", remedy)
    wrong = [str(shard) for shard, number in enumerate(told) if number != count]
    if wrong:
        which = f"shard{'s' if len(wrong) > 1 else ''} {', '.join(wrong)}"
        return broken(f"{which} of {count} lost its settings, and takes nothing: its server was emptied", remedy)
    return ok(f"{count} shard{'s' if count > 1 else ''}")


SHARD_CHECKS = (Check("queue shards", shards),)
