"""The operator's commands on a queue with three shards: each tells of all of them, and changes what it should."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from penstock import Producer, Write
from penstock.queue import blocks, dead, listing, look, workers
from penstock.queue.dead import DeadFilter
from penstock.queue.look import Filter, State
from penstock.queue.names import shard_of
from penstock.queue.results import Failure, Outcome
from penstock.queue.sharded import ShardedQueue
from penstock.queue.workers import Facts
from tests.support.in_process import Cli
from tests.support.shards import end_all, sharded
from tests.support.worker import BUCKET

pytestmark = pytest.mark.integration

SHARDS = 3
FAILURE = Failure("permanent", "InvalidTag", 400, "no")
KEYS = [f"key-{number:02}" for number in range(30)]


@pytest.fixture
def queue(redis_url: str, queue_name: str) -> Iterator[ShardedQueue]:
    with sharded(redis_url, queue_name, SHARDS) as queue:
        yield queue


@pytest.fixture
def filled(producer: Producer, queue: ShardedQueue) -> ShardedQueue:
    """Thirty writes, some in each shard."""
    producer.put_many([Write(key=key, body=b"body", tenant=f"t{at % 2}") for at, key in enumerate(KEYS)])
    return queue


@pytest.fixture
def buried(filled: ShardedQueue) -> ShardedQueue:
    """The same as dead letters."""
    end_all(filled, Outcome.DEAD, FAILURE)
    return filled


@pytest.fixture
def cli(env: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Cli:
    return Cli(env, monkeypatch, capfdbinary)


def printed(cli: Cli, *args: str, status: int = 0) -> Any:
    ended = cli(*args, "--json")
    assert ended.status == status, ended.err
    return json.loads(ended.out)


def of_shard(number: int) -> list[str]:
    return [key for key in KEYS if shard_of(f"{BUCKET}/{key}".encode(), SHARDS) == number]


def test_stats_are_those_of_all_shards_together(cli: Cli, filled: ShardedQueue) -> None:
    told = printed(cli, "queue", "stats")
    assert (told["shards"], told["writes"]["ready"]["normal"]) == (SHARDS, 30)
    assert told["limits"] == {"items": 1_000_000, "bytes": 1024**3, "dead_bytes": 256 * 1024**2}
    assert told["bytes"] == sum(shard.stats().bytes for shard in filled.shards)
    ages = [shard.stats().oldest_age["normal"] for shard in filled.shards]
    assert told["oldest_age_seconds"]["normal"] >= 0
    assert max(age for age in ages if age is not None) > 0
    stats = filled.stats()
    assert (stats.items, stats.unfinished, sum(stats.accepted.values())) == (30, 30, 30)
    assert b"shards" in cli("queue", "stats").out


def test_a_listing_has_every_write_once_also_in_parts(cli: Cli, filled: ShardedQueue) -> None:
    assert sorted(entry["key"] for entry in printed(cli, "queue", "list")) == KEYS
    found: list[str] = []
    cursor: str | None = ""
    parts = 0
    while cursor is not None:
        part = printed(cli, "queue", "list", "--limit", "4", "--cursor", cursor)
        found += [entry["key"] for entry in part["writes"]]
        cursor, parts = part["cursor"], parts + 1
    assert sorted(found) == KEYS
    assert parts >= 30 / 4
    lanes = Filter(state=State.READY, bucket=BUCKET, tenant="t1")
    entries, after = listing.part(filled, lanes, 100)
    assert (sorted(entry.key for entry in entries), after) == (KEYS[1::2], None)


def test_one_write_is_found_shown_moved_and_looked_into_in_its_shard(cli: Cli, filled: ShardedQueue) -> None:
    for number in range(SHARDS):
        key = of_shard(number)[0]
        assert printed(cli, "queue", "move", key, "--priority", "critical")["moved"]
        assert printed(cli, "queue", "show", key)["priority"] == "critical"
        assert cli("queue", "peek", key).out == b"body"
    assert [shard.stats().ready["critical"] for shard in filled.shards] == [1, 1, 1]
    assert printed(cli, "queue", "stats")["writes"]["ready"]["critical"] == 3


def test_a_pause_holds_up_every_shard_and_a_resume_ends_it_in_every_one(cli: Cli, filled: ShardedQueue) -> None:
    for options in ([], ["--bucket", BUCKET], ["--bucket", BUCKET, "--tenant", "t0"]):
        assert printed(cli, "queue", "pause", *options)["changed"]
        assert not printed(cli, "queue", "pause", *options)["changed"]
        (block,) = printed(cli, "queue", "stats")["blocks"]
        assert block["reason"] == "pause"
        claims = [
            shard.claim(
                ["token"], lease=9, max_items=99, max_bytes=10**6, max_wait=0, budget=10**6, holds_none=True
            ).batches
            for shard in filled.shards
        ]
        held = [write.tenant for batches in claims for batch in batches for write in batch.writes]
        assert set(held) == ({b"t1"} if options[2:] else set())
        for shard in filled.shards:
            shard.release("token", max_attempts=8)
        assert printed(cli, "queue", "resume", *options)["changed"]
        assert not printed(cli, "queue", "resume", *options)["changed"]
        assert filled.stats().set_aside == 0
    end_all(filled)
    assert filled.stats().items == 0


def test_a_purge_takes_what_it_picks_from_every_shard(cli: Cli, filled: ShardedQueue) -> None:
    assert printed(cli, "queue", "purge", "--tenant", "t0", "--yes")["purged"] == 15
    assert sorted(entry.key for page in look.pages(filled, Filter()) for entry in page) == KEYS[1::2]
    assert printed(cli, "queue", "purge", "--all", "--yes")["purged"] == 15
    assert filled.stats().items == 0


def test_a_drain_waits_for_all_shards(cli: Cli, filled: ShardedQueue) -> None:
    last = filled.shards[2]
    assert printed(cli, "queue", "drain", "--timeout", "0", status=1)["writes"]["ready"]["normal"] == 30
    end_all(filled)
    with Producer(cli._env["PENSTOCK_REDIS_URL"], queue=filled.name, bucket=BUCKET) as producer:
        producer.put(of_shard(2)[0], b"")
    assert last.stats().items == 1
    assert printed(cli, "queue", "drain", "--timeout", "0", status=1)["writes"]["ready"]["normal"] == 1
    end_all(filled)
    assert printed(cli, "queue", "drain", "--timeout", "0")["writes"]["ready"]["normal"] == 0


def test_limits_are_of_the_whole_queue_and_each_shard_has_its_part(cli: Cli, buried: ShardedQueue) -> None:
    told = printed(cli, "queue", "configure", "--items", "100", "--bytes", "1GiB")
    assert (told["limits"]["items"], told["limits"]["bytes"], told["shards"]) == (100, 1024**3, SHARDS)
    assert [shard.stats().limits.items for shard in buried.shards] == [34, 33, 33]
    assert cli("queue", "configure", "--items", "2").status == 2
    assert [shard.stats().limits.items for shard in buried.shards] == [34, 33, 33]
    held = buried.stats().dead_bytes
    refused = cli("queue", "configure", "--dead-bytes", str(held - held // 2))
    assert refused.status == 2
    assert "of shard" in refused.err
    printed(cli, "queue", "configure", "--dead-bytes", str(2 * held), "--log-level", "debug")
    assert printed(cli, "queue", "stats")["log_level"] == "debug"
    warnings = printed(cli, "queue", "configure", "--bytes", "16MiB")["warnings"]
    assert any("of a shard" in warning or "shard may hold" in warning for warning in warnings)


def test_dead_letters_are_listed_by_age_shown_retried_and_purged_in_all_shards(cli: Cli, buried: ShardedQueue) -> None:
    listed = printed(cli, "dead", "list")
    assert sorted(letter["key"] for letter in listed) == KEYS
    assert [letter["died_at"] for letter in listed] == sorted(letter["died_at"] for letter in listed)
    newest = buried.dead_letters(limit=5, newest_first=True)
    assert len(newest) == 5
    assert newest[0].died_at == max(letter.died_at for page in dead.pages(buried, DeadFilter()) for letter in page)
    for number in range(SHARDS):
        assert printed(cli, "dead", "show", of_shard(number)[0])[0]["code"] == "InvalidTag"
    some = [of_shard(number)[0] for number in range(SHARDS)]
    assert printed(cli, "dead", "retry", *some) == {"queued": 3}
    assert [shard.stats().items for shard in buried.shards] == [1, 1, 1]
    assert printed(cli, "dead", "purge", *[of_shard(number)[1] for number in range(SHARDS)], "--yes") == {"purged": 3}
    assert printed(cli, "dead", "retry", "--all", "--tenant", "t1")["queued"] > 5
    printed(cli, "dead", "retry", "--all")
    assert (buried.stats().dead, buried.stats().items) == (0, 27)


def test_letters_of_different_shards_may_have_the_same_number(cli: Cli, buried: ShardedQueue) -> None:
    """A number is a shard's own: only with its name does it tell which letter is meant."""
    one, other = buried.shards[:2]
    (letter,) = one.dead_letters(limit=1)
    payload = dead.read_payload(one, letter.seq)
    assert payload is not None
    key = of_shard(1)[0]
    name, twin = f"{BUCKET}/{letter.key}".encode(), f"{BUCKET}/{key}".encode()
    assert len(name) == len(twin)
    made = dead.Payload(letter.seq, payload.info.replace(name, twin), payload.record, None)
    assert dead.restore(buried, made) == "a"
    assert letter.seq in [found.seq for found in other.dead_letters()]
    assert printed(cli, "dead", "purge", letter.key, "--yes") == {"purged": 1}
    assert letter.seq in [found.seq for found in other.dead_letters()]


def test_exported_letters_come_back_into_another_number_of_shards(
    cli: Cli, buried: ShardedQueue, tmp_path: Path
) -> None:
    file = str(tmp_path / "letters")
    assert printed(cli, "dead", "export", file) == {"exported": 30}
    assert printed(cli, "dead", "purge", "--all", "--yes") == {"purged": 30}
    assert printed(cli, "queue", "configure", "--shards", "5")["shards"] == 5
    assert printed(cli, "dead", "import", file) == {"imported": 30}
    buried.refresh()
    assert [len(shard.dead_letters()) > 0 for shard in buried.shards] == [True] * 5
    assert printed(cli, "dead", "retry", "--all", "--force") == {"queued": 30}
    for key in KEYS:
        assert buried.of(BUCKET, key).stats().items
        assert look.find(buried, BUCKET, key)
    end_all(buried)
    assert buried.stats().dead == 0


def test_who_changed_what_is_noted_once_for_all_shards(cli: Cli, filled: ShardedQueue) -> None:
    printed(cli, "queue", "pause", "--bucket", BUCKET)
    printed(cli, "queue", "configure", "--items", "99")
    assert [entry["command"] for entry in printed(cli, "audit")] == ["queue configure", "queue pause"]


def test_top_and_doctor_see_all_shards(cli: Cli, filled: ShardedQueue) -> None:
    for shard in filled.shards:
        workers.beat(shard, "a-worker", Facts(host="here", pid=1))
    frame = printed(cli, "top", "--once", "--interval", "0.1")
    assert len(frame["workers"]) == 1
    assert sum(flow["ready"] for flow in frame["flows"]) == 30
    assert sorted({(flow["bucket"], flow["tenant"]) for flow in frame["flows"]}) == [(BUCKET, "t0"), (BUCKET, "t1")]
    assert frame["flow_count"]["normal"] == 2
    assert frame["shards"] == SHARDS

    def check() -> dict[str, str]:
        checks = json.loads(cli("doctor", "--no-s3", "--json").out)["checks"]
        (found,) = [one for one in checks if one["check"] == "queue shards"]
        assert isinstance(found, dict)
        return found

    assert (check()["status"], check()["found"]) == ("ok", "3 shards")
    filled.shards[1].client.delete(filled.shards[1].prefix + "meta")  # as on a server that was emptied
    assert check()["status"] == "broken"
    assert "--shards 3" in check()["remedy"]
    assert printed(cli, "queue", "configure", "--shards", "3")["limits"]["items"] == pytest.approx(10**6, abs=1)
    assert check()["status"] == "ok"
    filled.shards[0].run("reshard", "killed", SHARDS)
    assert "being changed" in check()["found"]
    printed(cli, "queue", "configure", "--shards", "3")
    assert check()["status"] == "ok"


def test_another_number_of_shards_is_refused_until_the_queue_is_empty(cli: Cli, filled: ShardedQueue) -> None:
    blocks.block(filled, BUCKET, None, note="me")
    refused = cli("queue", "configure", "--shards", "2")
    assert refused.status == 1
    assert "30 writes" in refused.err
    assert "drain" in refused.err
    assert len(refused.err.splitlines()) == 1
    stats = filled.stats()
    assert (stats.shards, stats.items, stats.limits.items) == (SHARDS, 30, 1_000_000)
    with Producer(cli._env["PENSTOCK_REDIS_URL"], queue=filled.name, bucket=BUCKET) as producer:
        producer.put("goes-on", b"")
    blocks.unblock(filled, BUCKET, None)
    end_all(filled, Outcome.DEAD, FAILURE)
    assert "31 dead letters" in cli("queue", "configure", "--shards", "2", "--wait", "30").err
    printed(cli, "dead", "purge", "--all", "--yes")
    blocks.block(filled, BUCKET, None, note="me")
    told = printed(cli, "queue", "configure", "--shards", "2", "--items", "50")
    assert (told["shards"], told["limits"]["items"]) == (2, 50)
    filled.refresh()
    assert [len(shard.stats().blocks) for shard in filled.shards] == [1, 1], "what is held up is so in new shards too"
    assert sum(filled.stats().accepted.values()) == 31, "counters only grow"
    assert filled.stats().items == 0


def test_an_old_pause_does_not_come_back_with_an_old_number_of_shards(cli: Cli, queue: ShardedQueue) -> None:
    printed(cli, "queue", "pause", "--bucket", BUCKET)
    printed(cli, "queue", "configure", "--shards", "1")
    printed(cli, "queue", "resume", "--bucket", BUCKET)
    printed(cli, "queue", "configure", "--shards", str(SHARDS))
    assert printed(cli, "queue", "stats")["blocks"] == []


@pytest.mark.parametrize("options", [("--shards", "0"), ("--shards", "33"), ("--wait", "3"), ("--shards", "two")])
def test_a_wrong_number_of_shards_changes_nothing(cli: Cli, queue: ShardedQueue, options: tuple[str, ...]) -> None:
    assert cli("queue", "configure", *options).status == 2
    assert queue.stats().shards == SHARDS
