"""Accounting, against episodes whose messages are counted by hand or another way."""

from __future__ import annotations

from math import log2
from typing import Any

import pytest

from marl.evaluation import traffic
from marl.evaluation.traffic import Tally
from marl.policy.scripted import Random
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.rollout.replay import replay
from protocols.draws import key
from protocols.effects import Budget, Jam
from protocols.envelope import EVERYONE, NOBODY, REFEREE, Kind
from tests.marl.worlds import WORLDS, one, script, world

SIDE = {"side": {"members": ["a_0", "b_0"]}}


def of(settings: dict[str, Any], **lines: tuple[str, ...]) -> tuple[traffic.Traffic, float]:
    """Play one round in which each seat says one line and picks x0; return its accounts and what it scored."""
    here = world(**{"arena": {"rounds": 1, "players": len(lines)}, **settings})
    episode = one(here, Plan("e", {seat: script(*said, "x0") for seat, said in lines.items()}, 1))
    return traffic.count(here, [episode]), episode.score


def test_a_perfect_channel_counted_by_hand() -> None:
    counted, _ = of({}, a_0=("m0 m1",), b_0=("m2",), c_0=("m3 m3 m3",))
    (account,) = counted.channels.values()
    width = log2(4 + 4**2 + 4**3)  # one to three of four symbols
    total = account.total
    assert (total.messages, total.symbols, total.receptions, total.deliveries) == (3, 6, 6, 6)
    assert (total.lost, total.altered, total.copies, total.late, total.overheard) == (0, 0, 0, 0, 0)
    assert total.bits == pytest.approx(3 * width)
    assert total.capacity == pytest.approx(3 * width)
    assert (total.price, total.latency, total.disturbed) == (0.0, 0.0, 0.0)
    seats = ("a_0", "b_0", "c_0")
    assert sorted(account.edges) == [(a, b) for a in seats for b in seats if a != b]
    assert [account.edges["a_0", b].symbols for b in seats[1:]] == [2, 2]
    assert (counted.episodes, counted.silences) == (1, 0)


def test_loss_change_and_copies_are_told_apart() -> None:
    words = {"a_0": ("m0",), "b_0": ("m1",)}
    lost, _ = of({"channel": [{"type": "loss", "p": 1.0}]}, **words)
    changed, _ = of({"channel": [{"type": "noise", "p": 1.0}]}, **words)
    doubled, _ = of({"channel": [{"type": "duplicate", "p": 1.0}, {"type": "erasure", "p": 1.0}]}, **words)
    for counted, expected in ((lost, (2, 2, 0, 0, 0)), (changed, (2, 0, 2, 2, 0)), (doubled, (2, 0, 2, 4, 2))):
        total = counted.channels["public"].total
        assert (total.receptions, total.lost, total.altered, total.deliveries, total.copies) == expected
        assert total.disturbed == 1.0
    assert lost.channels["public"].total.latency is None
    assert lost.channels["public"].total.capacity == 0.0
    assert doubled.channels["public"].total.capacity == pytest.approx(2 * log2(3))  # the length alone gets through
    closed, _ = of({"closed": ["public"]}, **words)
    assert closed.channels["public"].total.lost == 2


def test_a_price_is_paid_once_and_shared_by_the_edges() -> None:
    prices = {"channel": [{"type": "price", "per_symbol": 0.25, "per_message": 0.5}]}
    free, score = of({}, a_0=("m0 m1",), b_0=("m2",), c_0=("m3",))
    counted, lower = of(prices, a_0=("m0 m1",), b_0=("m2",), c_0=("m3",))
    account = counted.channels["public"]
    assert account.total.price == pytest.approx(4 * 0.25 + 3 * 0.5)
    assert account.total.price == pytest.approx(3 * (score - lower))  # what the seats did not get
    assert account.edges["a_0", "b_0"].price == account.edges["a_0", "c_0"].price == pytest.approx(0.5)
    assert sum(edge.price for edge in account.edges.values()) == pytest.approx(account.total.price)
    assert free.channels["public"].total.price == 0.0


def test_an_eavesdropper_is_counted_apart_unless_the_message_is_for_it() -> None:
    effects = [{"type": "eavesdrop", "seat": "c_0"}, {"type": "loss", "p": 1.0}]
    settings = {"channels": {"side": {"members": ["a_0", "b_0"], "effects": effects}}}
    counted, _ = of(settings, a_0=("side m0",), b_0=("side m1",), c_0=("m2",))
    side = counted.channels["side"]
    assert (side.total.messages, side.total.receptions, side.total.lost, side.total.overheard) == (2, 2, 2, 2)
    overheard = side.edges["a_0", "c_0"]
    assert (overheard.messages, overheard.deliveries, overheard.overheard) == (0, 0, 1)
    public, _ = of({"channel": effects[:1]}, a_0=("m0",), b_0=("m1",), c_0=("m2",))
    assert public.channels["public"].total.overheard == 0
    assert public.channels["public"].total.receptions == 6


def test_who_is_meant_follows_a_graph_that_changes() -> None:
    graphs = [{"type": "edges", "edges": [["a_0", "b_0"]]}, {"type": "edges", "edges": [["a_0", "c_0"]]}]
    settings: dict[str, Any] = {
        "arena": {"rounds": 2, "players": 3},
        "topology": {"type": "changing", "graphs": graphs, "every": 2},
        "channel": [{"type": "eavesdrop", "seat": "c_0"}],
    }
    here = world(**settings)
    seats = {seat: script("m0", "x0", "m0", "x0") for seat in here.agents}
    counted = traffic.count(here, [one(here, Plan("e", seats, 1))])
    edges = counted.channels["public"].edges
    assert (edges["a_0", "b_0"].messages, edges["a_0", "c_0"].messages, edges["a_0", "c_0"].overheard) == (1, 1, 1)


def test_latency_and_what_comes_too_late() -> None:
    # The second message is still on its way when the episode ends.
    settings: dict[str, Any] = {
        "arena": {"rounds": 1, "players": 2},
        "channel": [{"type": "delay", "seconds": 2.0}],
        "floor": "rounds",
    }
    here = world(**settings, latency={"constant": 1.0})
    episode = one(here, Plan("e", {"a_0": script("m0", "x0"), "b_0": script("m1", "x0")}, 1))
    said = [e.envelope for e in episode.log.entries if e.envelope.kind is Kind.SAY]
    end = episode.log.entries[-1].envelope.time
    total = traffic.count(here, [episode]).channels["public"].total
    assert (total.latency, total.slowest) == (2.0, 2.0)
    assert total.late == sum(envelope.time + 2.0 > end for envelope in said)


def test_silence_goes_over_no_channel_and_its_price_stands_apart() -> None:
    floor = {"type": "free", "silence": 0.25, "speaking": 0.5, "limit": 2}
    settings: dict[str, Any] = {"arena": {"rounds": 1, "players": 2}, "floor": floor}
    here = world(**settings)
    episode = one(here, Plan("e", {"a_0": script("", "x0"), "b_0": script("", "x0")}, 1))
    counted = traffic.count(here, [episode])
    assert (counted.channels, counted.silences, counted.silence_price) == ({}, 2, 0.5)


@pytest.mark.parametrize("name", WORLDS)
def test_the_books_balance_in_every_world(name: str) -> None:
    """Sums over edges are the totals, messages are those of the log, and a replay gives the same books."""
    here = world(**WORLDS[name])
    seats = dict.fromkeys(here.agents, Random())
    episodes = collect(here, [Plan(f"e{i}", seats, key(1, name)) for i in range(8)])
    counted = traffic.count(here, episodes)
    says = [
        entry
        for e in episodes
        for entry in e.log.entries
        if entry.envelope.kind is Kind.SAY and entry.envelope.sender != REFEREE
    ]
    for channel, account in counted.channels.items():
        to = EVERYONE if channel == "public" else channel
        mine = [entry for entry in says if entry.envelope.to == to]
        total, edges = account.total, account.edges.values()
        assert total.messages == len(mine)
        assert total.symbols == sum(len(envelope.body.split()) for envelope, _ in mine)
        assert total.price == pytest.approx(sum(envelope.data.get("price", 0.0) for envelope, _ in mine))
        assert total.receptions == sum(edge.messages for edge in edges)
        arrived = sum(reception.body is not None for _, heard in mine for reception in heard)
        uninvited = sum(edge.overheard for edge in edges)
        assert total.deliveries + uninvited <= arrived  # an eavesdropper may overhear two copies of one message
        assert total.deliveries - total.copies == total.receptions - total.lost
        assert 0 <= total.late <= total.deliveries
        shares = sum(edge.price for edge in edges)
        assert shares == pytest.approx(total.price) or any(not heard for _, heard in mine)
        assert all(edge.latency is None or 0 <= edge.latency <= edge.slowest + 1e-12 for edge in edges)
        stationary = not any(isinstance(e, Jam | Budget) for e in here.channels[channel].effects)
        assert total.capacity is None or not stationary or total.capacity <= (total.bits or 0.0) + 1e-9
    assert counted.silences == sum(entry.envelope.to == NOBODY for entry in says)
    again = traffic.count(here, collect(here, [replay(e.log) for e in episodes]))
    assert again == counted


def test_the_capacity_is_left_open_where_it_is_not_always_the_same() -> None:
    for effect in ({"type": "jam", "windows": [[0, 1]]}, {"type": "budget", "messages": 1, "per": "episode"}):
        counted, _ = of({"channel": [effect]}, a_0=("m0",), b_0=("m1",))
        assert counted.channels["public"].total.capacity is None
    counted, _ = of({"channel": [{"type": "budget", "symbols": 1}]}, a_0=("m0 m1",), b_0=("m1",))
    assert counted.channels["public"].total.capacity == pytest.approx(2 * 2.0)  # one of four symbols is left


def test_figures_and_metrics_are_what_json_holds() -> None:
    counted, _ = of({"channels": SIDE}, a_0=("side m0",), b_0=("public m1",), c_0=("m2",))
    figures = counted.figures()
    assert {row["channel"] for row in figures["edges"]} == {"public", "side"}
    assert [(row["speaker"], row["listener"]) for row in figures["edges"] if row["channel"] == "side"] == [
        ("a_0", "b_0")
    ]
    assert set(figures["channels"]["side"]) == {*Tally.__slots__, "latency", "latency_max"} - {"delay", "slowest"}
    metrics = counted.metrics()
    assert metrics["channel/side/messages"] == 1.0
    assert metrics["channel/public/messages"] == 2.0
    assert metrics["channel/public/latency"] == 0.0
    assert all(isinstance(value, float) for value in metrics.values())
