"""Announced state carries a count: an older state never replaces a newer one, and nobody leaves for another agent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from itertools import count
from typing import Any

import pytest

from marl.episode import Sample
from marl.policy.scripted import Random
from marl.remote.host import Host
from marl.remote.outbox import Outbox
from marl.remote.rejections import Reason
from marl.remote.seat_client import SeatClient
from protocols import clock, topics
from protocols.envelope import Envelope, Kind
from protocols.mqtt.broker import local
from protocols.mqtt.bus import MqttBus
from protocols.topics import LOBBY
from tests.marl.remote.test_host_protocol import SEATS, SPEC, TOKENS, TOPIC, Scene

runs = (f"state-{n}" for n in count())


def presence(scene: Scene, seat: str, n: int, kind: str = "join", **data: Any) -> None:
    whole = {"agent": seat, "policy": "random", "token": TOKENS[seat], **data}
    envelope = {"episode": LOBBY, "sender": seat, "n": n, "kind": kind, "data": whole}
    scene.arrive(topics.sent_by("run", LOBBY, seat), json.dumps(envelope).encode())


def test_an_older_state_never_replaces_a_newer_one() -> None:
    scene = Scene()
    presence(scene, "a_0", 149, version=3)
    presence(scene, "a_0", 145, version=-1)
    claim = scene.lobby.claims["a_0"]
    assert claim is not None
    assert (claim.version, claim.count) == (3, 149)
    assert scene.rejections.counts == {Reason.REPLAYED: 1}


def test_the_same_state_makes_a_seat_present_again() -> None:
    """As after a reconnect: the last will spoke, and then comes the state that was announced before."""
    scene = Scene()
    presence(scene, "a_0", 9, version=3)
    presence(scene, "a_0", 2, "leave")
    assert scene.lobby.missing == ["a_0"]
    presence(scene, "a_0", 8, version=2)
    assert scene.lobby.missing == ["a_0"]
    presence(scene, "a_0", 9, version=3)
    assert not scene.lobby.missing


def test_a_new_process_counts_for_itself() -> None:
    scene = Scene()
    presence(scene, "a_0", 1000)
    presence(scene, "a_0", 1001, "leave")
    presence(scene, "a_0", 5, agent="another")  # its machine's clock is behind
    assert not scene.lobby.missing


def test_a_seat_with_older_weights_hears_of_the_newer_ones_again() -> None:
    scene = Scene()
    scene.protocol.renew("a_0", {"folder": "/w/4", "version": 4})
    scene.sent.clear()
    presence(scene, "a_0", 9, version=3, have={})
    assert [envelope.data["weights"]["version"] for _, envelope in scene.sent] == [4]
    scene.sent.clear()
    presence(scene, "a_0", 10, version=4, have={})
    assert scene.sent == []


@pytest.mark.parametrize("agent", ["b_0", "a_0 of yesterday", ""])
def test_nobody_leaves_for_another_agent(agent: str) -> None:
    scene = Scene()
    presence(scene, "a_0", 9, "leave", agent=agent)
    assert not scene.lobby.missing
    assert scene.rejections.counts == ({Reason.SENDER: 1} if agent == "b_0" else {})


def test_an_agent_under_anothers_name_does_not_lead_its_seats() -> None:
    scene = Scene()
    presence(scene, "a_0", 9, "leave")
    presence(scene, "a_0", 10, agent="b_0")  # with its own token, under the name of the other seat's agent
    presence(scene, "a_0", 11, "leave", agent="b_0")
    assert scene.lobby.missing == ["a_0"]


def test_the_last_will_of_one_seat_speaks_for_those_it_leads() -> None:
    scene = Scene()
    for seat in SEATS:
        presence(scene, seat, 8, "leave")
        presence(scene, seat, 9, agent="both", **({"lead": "a_0"} if seat == "b_0" else {}))
    presence(scene, "a_0", 1, "leave", agent="both")
    assert scene.lobby.missing == list(SEATS)


@pytest.mark.parametrize("agent", ["", "a_0"])
def test_a_wrong_token_evicts_nobody(agent: str) -> None:
    """The host answers a stranger only under a name that is not a seated agent's."""
    scene = Scene()
    scene.sent.clear()
    presence(scene, "a_0", 9, agent=agent, token="guess")
    assert (scene.sent, scene.rejections.counts, scene.lobby.missing) == ([], {Reason.TOKEN: 1}, [])
    presence(scene, "a_0", 9, agent="stranger", token="guess")
    assert [(e.kind, e.data["agent"], e.reply_to) for _, e in scene.sent] == [(Kind.LEAVE, "stranger", 9)]


def test_a_flood_of_joins_does_not_lengthen_the_queue() -> None:
    scene, out = Scene(), Outbox()
    scene.protocol._send_to = out.put
    for n in range(5000):
        presence(scene, "a_0", 10 + n)
    assert len(out) <= 2  # the welcome, and the one envelope of the episode


def test_seats_take_turns_and_copies_replace_each_other() -> None:
    out = Outbox()
    for place in (0, 1, 2, 0, 1, 2):
        out.put("sabir/r/e/to/a", Envelope("e", "referee", place, Kind.SAY, data={"place": place}))
    out.put("sabir/r/e/to/b", Envelope("e", "referee", 0, Kind.SAY, data={"place": 0}))
    taken = [out.take() for _ in range(4)]
    assert [(topic[-1], envelope.n) for topic, envelope in taken] == [("a", 0), ("b", 0), ("a", 1), ("a", 2)]
    assert not out


def test_a_flooding_seat_is_dropped_and_its_awaited_reply_is_taken() -> None:
    scene = Scene()
    for n in range(3000):
        presence(scene, "a_0", 10 + n)
    dropped = scene.rejections.counts[Reason.RATE]
    assert 1500 < dropped < 2100
    assert scene.protocol.limit.dropped == {"a_0": dropped}
    presence(scene, "b_0", 99)
    assert scene.rejections.counts[Reason.RATE] == dropped  # the other seat is heard
    raw = json.dumps({"episode": "e0", "sender": "a_0", "n": 0, "kind": "say", "body": "m1", "reply_to": 7})
    scene.arrive(TOPIC, raw.replace("}", ',"data":{"token":"' + TOKENS["a_0"] + '"}}').encode())
    assert scene.answer.done()


def test_awaited_replies_never_meet_the_limit() -> None:
    scene = Scene()
    for k in range(3000):
        answer: Future[Sample | None] = Future()
        view = Envelope("e0", "referee", 2 + k, Kind.VIEW, "a_0", seq=8 + k, data={"reply": SPEC})
        scene.protocol.ask("a_0", view, answer)
        line = {"episode": "e0", "sender": "a_0", "n": k, "kind": "say", "body": "m1", "reply_to": 8 + k}
        scene.arrive(TOPIC, json.dumps({**line, "data": {"token": TOKENS["a_0"]}}).encode())
        assert answer.done()
    assert not scene.rejections.counts


@pytest.fixture
def seat_on_a_broker() -> Iterator[Any]:
    with local() as mine:
        yield mine


def test_reconnecting_seats_do_not_fall_back_to_old_weights(seat_on_a_broker: Any) -> None:
    """The weights change, and the connection of the seat breaks after each change."""
    run, broker = next(runs), seat_on_a_broker
    buses: list[MqttBus] = []

    async def live() -> None:
        async with MqttBus(broker.url) as bus:
            buses.append(bus)
            follow = Random()
            await SeatClient("a_0", follow, bus, run, "one", renew=lambda seat, weights: weights["version"]).sit()

    thread = threading.Thread(target=lambda: clock.run(live(), "wall"), daemon=True)
    thread.start()
    with Host(broker.url, run, ["a_0"]) as host:
        host.ready(20)
        for version in range(1, 5):
            host.publish({"a_0": ("folder", version)}, 20)
            buses[0]._broken._loop.call_soon_threadsafe(buses[0]._broken.set)  # type: ignore[attr-defined]
        claim = host.lobby.claims["a_0"]
        assert claim is not None
        assert claim.version == 4
    thread.join(20)
    assert not thread.is_alive()
    assert buses[0].connections > 1
