"""Intruders at a real broker: with and without an access list, none of what they try gets in."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest

from marl.policy.scripted import Random
from marl.remote.host import Host
from marl.remote.rejections import Reason
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from protocols import clock, topics
from protocols.envelope import Envelope, Kind
from protocols.mqtt import access
from protocols.mqtt.broker import Mosquitto, mosquitto
from protocols.mqtt.bus import MqttBus
from protocols.topics import LOBBY
from tests.brokers import BROKERS, broker
from tests.marl.remote.elsewhere import elsewhere, refused
from tests.marl.worlds import raw, world

RUN = "guarded"


def plans(seats: Any, episodes: int = 6) -> list[Plan]:
    return [Plan(f"e{i}", seats, 1) for i in range(episodes)]


def forged(seat: str, token: str) -> list[tuple[str, bytes]]:
    """Replies, joins and leaves in the name of a seat, for every episode and view there could be."""
    data = {"token": token} if token else {}
    replies = [
        (topics.sent_by(RUN, f"e{i}", seat), Envelope(f"e{i}", seat, 90, kind, body="m0", data=data, reply_to=view))
        for i in range(6)
        for view in range(1, 6)
        for kind in (Kind.SAY, Kind.MOVE, Kind.END)
    ]
    lobby = topics.sent_by(RUN, LOBBY, seat)
    home = topics.sent_by(RUN, LOBBY, "referee")
    presence = [
        *((lobby, Envelope(LOBBY, seat, 1, k, data={"agent": "x", **data})) for k in (Kind.JOIN, Kind.LEAVE)),
        *((home, Envelope(LOBBY, "referee", 1, k, data={"host": "x"})) for k in (Kind.END, Kind.LEAVE, Kind.JOIN)),
    ]
    return [(topic, envelope.to_json()) for topic, envelope in replies + presence]


def intrude(url: str, shots: list[tuple[str, bytes]]) -> list[str]:
    """Fire at a broker; return the topics of what could be read meanwhile."""
    read: list[str] = []

    async def main() -> None:
        async with MqttBus(url) as bus:
            await bus.watch("sabir/#", lambda topic, payload: read.append(topic))
            assert bus._client is not None
            for topic, payload in shots:  # beside the bus, which ends when one of its own publishes is refused
                await bus._client.send(topic, payload, retain=False)
            await asyncio.sleep(0.2)

    clock.run(main(), "wall")
    return read


@pytest.mark.skipif(mosquitto() is None, reason="access lists need mosquitto")
def test_an_access_list_isolates_seats(tmp_path: Path) -> None:
    here = world("lewis")
    files, passwords = access.write(tmp_path, RUN, here.agents)
    assert (tmp_path / "passwords").stat().st_mode & 0o077 == 0
    assert not any(password in (tmp_path / "passwords").read_text() for password in passwords.values())
    tokens = {seat: f"token of {seat}" for seat in here.agents}
    with Mosquitto(access=files) as guarded:

        def url(user: str) -> str:
            return f"mqtt://{user}:{passwords[user]}@127.0.0.1:{guarded.port}"

        with (
            elsewhere(url("sender_0"), RUN, {"sender_0": Random()}, token=tokens["sender_0"]),
            elsewhere(url("receiver_0"), RUN, {"receiver_0": Random()}, token=tokens["receiver_0"]),
            Host(url("host"), RUN, here.agents, tokens=tokens) as host,
        ):
            host.ready(20)
            # A seat that even knows the other's token, and a watcher: the broker lets none of it through.
            read = intrude(url("receiver_0"), forged("sender_0", tokens["sender_0"]))
            assert intrude(url("watch"), forged("sender_0", tokens["sender_0"]))
            assert refused(host) == {}
            there = collect(here, plans(host.seats()))
            assert refused(host) == {}
    assert raw(there) == raw(collect(here, plans({seat: Random() for seat in here.agents})))
    mine = (topics.sent_by(RUN, LOBBY, "referee"), topics.to(RUN, LOBBY, "receiver_0"))
    assert set(read) <= set(mine)


@pytest.mark.parametrize("name", BROKERS)
def test_tokens_keep_intruders_out(name: str) -> None:
    here = world("lewis")
    url = broker(name, "intruders").url
    tokens = {seat: f"token of {seat}" for seat in here.agents}
    with (
        elsewhere(url, RUN, {"sender_0": Random()}, token=tokens["sender_0"]),
        elsewhere(url, RUN, {"receiver_0": Random()}, token=tokens["receiver_0"]),
        Host(url, RUN, here.agents, tokens=tokens) as host,
    ):
        host.ready(20)
        shots = [*forged("sender_0", ""), *forged("sender_0", "guess"), *forged("sender_0", tokens["receiver_0"])]
        seats = host.seats()
        first = collect(here, plans(seats, 2))
        intrude(url, shots)
        there = collect(here, plans(seats))
        assert sum(refused(host).values()) == len(shots)
        assert set(refused(host)) == {Reason.TOKEN, Reason.SENDER}
    local = collect(here, plans({seat: Random() for seat in here.agents}))
    assert raw(there) == raw(local)
    assert raw(first) == raw(local[:2])


@pytest.mark.parametrize("name", BROKERS)
def test_noise_on_the_wire_while_episodes_are_played(name: str) -> None:
    here = world("chat")
    url = broker(name, "intruders").url
    dice = random.Random(7)
    whole = json.dumps({"episode": "e1", "sender": "a_0", "n": 0, "kind": "say", "reply_to": 1, "x": 1}).encode()
    shots = []
    for i in range(400):
        junk = dice.randbytes(dice.randrange(80)) if i % 2 else whole[: dice.randrange(len(whole))]
        shots.append((topics.sent_by("noisy", f"e{i % 4}", dice.choice(here.agents)), junk))
    with (
        elsewhere(url, "noisy", {seat: Random() for seat in here.agents}),
        Host(url, "noisy", here.agents) as host,
    ):
        host.ready(20)

        async def at_once() -> list[Any]:
            from marl.rollout.collect import play_all

            firing = asyncio.create_task(asyncio.to_thread(intrude, url, shots))
            played = await play_all(here, plans(host.seats()))
            await firing
            return played

        there = clock.run(at_once(), "wall")
    assert refused(host) == {Reason.MALFORMED: len(shots)}
    local = collect(here, plans({seat: Random() for seat in here.agents}))
    assert [[e.body for e in one.log.replies()] for one in there] == [[e.body for e in o.log.replies()] for o in local]
