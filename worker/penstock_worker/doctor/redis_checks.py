"""Checks of Redis: does it answer, will it keep what it is given, and is there room for the queue's limits?

INFO is enough for all but one, since a managed Redis often refuses CONFIG.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any, cast

import redis

from penstock.queue.connection import open_client, show_url, translate
from penstock.queue.durability import Durability, no_sync
from penstock.queue.merged import merge_stats
from penstock.queue.results import Stats
from penstock_worker import checks
from penstock_worker.cli.common import in_bytes, in_seconds
from penstock_worker.clock import SKEW_LIMIT, Clock
from penstock_worker.doctor.base import Check, Finding, Status, broken, ok, skipped, warning
from penstock_worker.doctor.site import REDIS_SECONDS, Site
from penstock_worker.held import boottime

PINGS = 20
SLOW_PING = 0.005
"""Seconds. Within one zone a round trip is well below one millisecond; each `put` waits for one."""
SKEW_TO_MIND = 5.0
"""Seconds: clocks under NTP agree to milliseconds, so this is one that is not set."""
BYTES_A_WRITE = 500
"""What Redis 7 takes for a waiting write beside its body (docs/operating.md)."""
FULL = 0.8
"""Of a limit: above this, producers are about to be refused."""


def reachable(site: Site) -> Finding:
    url = site.settings.redis_url
    site.no_redis = "Redis does not answer"
    try:
        open_client(url, REDIS_SECONDS, site.settings.queue).ping()
    except redis.exceptions.RedisError as error:
        return broken(str(translate(error, url, maybe_accepted=False)), "start Redis, or correct PENSTOCK_REDIS_URL")
    site.no_redis = None
    return ok(show_url(url))


def version(site: Site) -> Finding:
    info = site.info()
    valkey = info.get("valkey_version")
    name = f"Valkey {valkey}" if valkey else f"Redis {checks.redis_version(info)}"
    if checks.is_too_old(info):
        return broken(f"{name}: its scripts lack what Penstock needs", "upgrade to Redis 7.0 or newer, or to Valkey")
    return ok(name)


def append_only(site: Site) -> Finding:
    info = site.info()
    if not checks.keeps_files(info):
        return warning(
            "appendonly is off: accepted writes are lost when Redis restarts",
            "set appendonly yes; where a provider keeps writes in another way, this warning may stand",
        )
    for what in ("aof_last_write_status", "aof_last_bgrewrite_status"):
        if info.get(what, "ok") != "ok":
            return broken(f"{what} is {info[what]}", "look at Redis's log: its disk may be full or gone")
    return ok("an append-only file is written")


def append_fsync(site: Site) -> Finding:
    if not checks.keeps_files(site.info()):
        return skipped("appendonly is off")
    try:
        found = cast("dict[bytes | str, bytes | str]", site.client().config_get("appendfsync"))
    except redis.exceptions.ResponseError as error:
        return skipped(f"CONFIG is refused ({error})", "ask the provider how often it syncs to disk")
    value = next((_text(value) for value in found.values()), "")
    if value == "no":
        return warning(
            "appendfsync no: a host that dies loses what its kernel had not written, half a minute or more",
            "set appendfsync everysec, or always",
        )
    said = {"everysec": "a Redis that dies can lose its last second or two", "always": "nothing is lost"}
    return ok(f"{value}: {said.get(value, 'unknown to this version')}")


def durability(site: Site) -> Finding:
    """Whether this Redis can give what producers are to ask for."""
    asked, info = Durability.parse(site.settings.durability), site.info()
    remedy = "or set PENSTOCK_DURABILITY to what it can give"
    if asked.fsync:
        try:
            site.client().execute_command("WAITAOF", 1, 0, 1)
        except redis.exceptions.ResponseError as error:
            return broken(f"fsync, and {no_sync(error)}", remedy)
        if append_fsync(site).status is Status.WARNING:
            return broken("fsync, and appendfsync is no: nothing tells when the disk has it", "set appendfsync always")
    elif int(info.get("connected_slaves", 0)) < asked.replicas:
        found = f"{asked.name}, and {info.get('connected_slaves', 0)} are connected: every call raises NotDurable"
        return broken(found, f"bring up replicas, {remedy}")
    return ok(asked.name)


def eviction(site: Site) -> Finding:
    policy = checks.eviction(site.info())
    if policy == "noeviction":
        return ok(policy)
    remedy = "set maxmemory-policy noeviction"
    if not site.info().get("maxmemory"):
        return warning(f"{policy}, harmless only as long as maxmemory is 0", remedy)
    return broken(f"{policy}: accepted writes are thrown away when memory is full", remedy)


def memory(site: Site) -> Finding:
    """Room for the queue at its limits, beside what is used already: on the server that has least of it."""
    servers: dict[str, tuple[dict[str, Any], list[Stats]]] = {}
    for shard in site.queue().shards:
        info = site.info() if shard.client is site.client() else shard.client.info()
        servers.setdefault(info.get("run_id", ""), (info, []))[1].append(shard.stats())
    found = [_room(info, merge_stats(stats)) for info, stats in servers.values()]
    order = (Status.OK, Status.SKIPPED, Status.WARNING, Status.BROKEN)
    return max(found, key=lambda finding: order.index(finding.status))


def _room(info: Mapping[str, Any], stats: Stats) -> Finding:
    """Of a server, for those of the shards that it has."""
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    whole = limit or int(info.get("total_system_memory", 0))
    if not whole:
        return skipped("INFO tells neither maxmemory nor the host's memory")
    limits = stats.limits
    bodies = max(0, limits.bytes - stats.bytes) + max(0, limits.dead_bytes - stats.dead_bytes)
    need = bodies + BYTES_A_WRITE * max(0, limits.items - stats.items)
    room = whole - used
    what = f"maxmemory {in_bytes(limit)}" if limit else f"no maxmemory, the host has {in_bytes(whole)}"
    found = f"{what}, {in_bytes(used)} used; the queue may still grow by {in_bytes(need)}"
    if room <= 0:
        return broken(found, "raise maxmemory: Redis refuses writes, and the queue only drains")
    if need > room:
        return warning(found, f"raise it by {in_bytes(need - room)}, or lower the queue's limits")
    return ok(found)


def latency(site: Site) -> Finding:
    client, times = site.client(), []
    for _ in range(PINGS):
        began = time.perf_counter()
        client.ping()
        times.append(time.perf_counter() - began)
    median = statistics.median(times)
    found = f"median {median * 1000:.2f} ms, worst {max(times) * 1000:.2f} ms of {PINGS} round trips"
    if median > SLOW_PING:
        return warning(found, "bring Redis nearer to producers and workers; look at SLOWLOG and at its host's load")
    return ok(found)


def replication(site: Site) -> Finding:
    info = site.info()
    if info.get("role") == "slave":
        primary = f"{info.get('master_host')}:{info.get('master_port')}"
        return broken(f"a replica of {primary}: it refuses writes", "name the primary in PENSTOCK_REDIS_URL")
    count = int(info.get("connected_slaves", 0))
    replicas = [
        info[name] for name in (f"slave{number}" for number in range(count)) if isinstance(info.get(name), dict)
    ]
    behind = [f"{one.get('ip')}:{one.get('port')}" for one in replicas if one.get("state") != "online"]
    if behind:
        return warning(f"replicas not in step: {', '.join(behind)}", "look at their logs and links")
    if not count:
        return ok("a primary without replicas: its disk is the only copy")
    return ok(f"a primary with {count} replica{'s' if count > 1 else ''} in step")


def queue_room(site: Site) -> Finding:
    stats = site.queue().stats()
    shares = {
        "writes": stats.items / stats.limits.items,
        "bytes": stats.bytes / stats.limits.bytes,
        "dead letters": stats.dead_bytes / stats.limits.dead_bytes,
    }
    fullest = max(shares, key=lambda name: shares[name])
    age = max((age for age in stats.oldest_age.values() if age is not None), default=None)
    found = f"{stats.unfinished:,} waiting (oldest {in_seconds(age)}), {stats.dead:,} dead; "
    found += f"{shares[fullest]:.0%} of its limit of {fullest}"
    if shares[fullest] >= 1:
        return broken(found, "find out with `penstock queue stats` what is not uploaded; add workers")
    if shares[fullest] > FULL:
        return warning(found, "add workers, or look at why uploads fail")
    if stats.paused:
        return warning(f"paused; {found}", "resume it")
    if stats.dead:
        return warning(found, "`penstock dead list` says why; `penstock dead retry` puts them back")
    return ok(found)


def clock(site: Site) -> Finding:
    client, judge = site.client(), Clock()
    client.ping()  # the connection stands, so the next call is one round trip
    before = boottime()
    seconds, micros = client.time()
    judge.compared(seconds + micros / 1e6, before, boottime())
    wrong, skew = judge.wrong(), judge.skew() or 0.0
    remedy = "set the clocks of this host and of Redis's by NTP"
    if wrong is not None:
        return broken(f"{wrong}: a worker here claims nothing", remedy)
    found = f"this host is {skew:+.3f} s from Redis"
    return warning(f"{found}; a worker stops at {SKEW_LIMIT:g} s", remedy) if abs(skew) > SKEW_TO_MIND else ok(found)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


REDIS_CHECKS = (
    Check("redis", reachable),
    Check("redis version", version),
    Check("redis appendonly", append_only),
    Check("redis appendfsync", append_fsync),
    Check("redis durability", durability),
    Check("redis maxmemory-policy", eviction),
    Check("redis memory", memory),
    Check("redis latency", latency),
    Check("redis replication", replication),
    Check("redis clock", clock),
    Check("queue", queue_room),
)
