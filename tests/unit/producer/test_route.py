"""Where the master is: whom to ask in which order, and what the answers mean."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.queue.address import read_address
from penstock.queue.route import ASK_SECONDS, MAX_NODES, NoMasterError, Route

KEY = "penstock:{default:0}:"
SLOT = 6591
ONE, TWO, THREE = ("one", 6379), ("two", 6379), ("three", 6379)


def cluster(key: str | None = KEY) -> Route:
    return Route(read_address("redis+cluster://one,two,three"), key)


def sentinel() -> Route:
    return Route(read_address("redis+sentinel://one,two/name"), KEY)


def part(first: int, last: int, host: object, port: int) -> list[Any]:
    return [first, last, [host, port, b"id"], [b"replica", 1, b"id"]]


def asked(route: Route) -> list[str]:
    return [node[0] for node, _ in route.nodes(10.0)]


def test_one_that_fails_is_asked_last_from_then_on() -> None:
    route = cluster()
    assert asked(route) == ["one", "two", "three"]
    route.failed(ONE)
    assert asked(route) == ["two", "three", "one"]


def test_one_of_several_gets_a_second_at_most_and_a_third_of_the_time_and_a_lone_one_all() -> None:
    assert [seconds for _, seconds in cluster().nodes(30.0)] == [ASK_SECONDS] * 3
    assert [seconds for _, seconds in cluster().nodes(0.9)] == pytest.approx([0.3] * 3)
    assert Route(read_address("redis+cluster://one"), KEY).nodes(30.0) == [(ONE, 30.0)]


def test_the_master_of_the_shards_slot_is_found() -> None:
    answer = [part(0, SLOT - 1, b"a", 1), part(SLOT, SLOT, b"b", 2), part(SLOT + 1, 16383, b"c", 3)]
    assert cluster().read(ONE, answer) == ("b", 2)
    assert cluster(None).read(ONE, answer) == ("a", 1)


@pytest.mark.parametrize("host", [b"", None, b"?"])
def test_a_node_without_a_name_is_where_it_was_reached(host: object) -> None:
    assert cluster().read(TWO, [part(0, 16383, host, 7000)]) == ("two", 7000)


def test_the_other_nodes_are_asked_when_those_of_the_address_are_gone() -> None:
    route = cluster()
    route.read(TWO, [part(0, SLOT, b"new", 1), part(SLOT + 1, 16383, b"newer", 2)])
    assert asked(route)[:3] == ["two", "one", "three"]
    assert "new" in asked(route)
    many = [part(number, number, b"n%d" % number, 1) for number in range(SLOT - 100, SLOT + 1)]
    route.read(TWO, many)
    assert len(asked(route)) == MAX_NODES
    assert asked(route)[:3] == ["two", "one", "three"]


def test_a_slot_that_nobody_serves_is_told() -> None:
    with pytest.raises(NoMasterError, match=f"no node of the cluster serves slot {SLOT}, says the one at one:6379"):
        cluster().read(ONE, [part(0, SLOT - 1, b"a", 1)])
    with pytest.raises(NoMasterError, match="any slot"):
        cluster(None).read(ONE, [])


def test_sentinels_answer_is_the_master_and_no_answer_is_told() -> None:
    route = sentinel()
    assert route.question == ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "name")
    assert route.read(("one", 26379), [b"10.0.0.1", b"6380"]) == ("10.0.0.1", 6380)
    with pytest.raises(NoMasterError, match="the Sentinel at one:26379 knows no service 'name'"):
        route.read(("one", 26379), None)


def test_looking_again_leaves_the_old_way() -> None:
    route = cluster()
    before = route.way
    assert route.way is before
    route.look_again()
    assert route.way is not before


def test_a_plain_address_asks_nobody() -> None:
    assert not Route(read_address("redis://one"), KEY).is_found
