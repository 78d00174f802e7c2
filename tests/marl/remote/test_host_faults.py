"""The broker dies in the middle; the network loses, doubles, reorders. `benchmarks/faults.py` has the long version."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from arenas.spec import ReplySpec
from benchmarks.faults import Proxy
from marl.context.transcript import Transcript
from marl.episode import Sample
from marl.policy.base import Policy, TextPolicy
from marl.policy.scripted import Random
from marl.remote.host import Host
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from protocols.mqtt.broker import local
from tests.brokers import broker
from tests.marl.remote.elsewhere import elsewhere
from tests.marl.worlds import WORLDS, raw, world


class Striking(TextPolicy):
    """Replies at random, and has something happen before its n-th reply."""

    name = "random"

    def __init__(self, n: int, strike: Any) -> None:
        self.left, self.strike = n, strike

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        self.left -= 1
        if self.left == 0:
            await asyncio.to_thread(self.strike)
        return await Random().reply(transcript, spec=spec, seed=seed, greedy=greedy)


def plans(seats: Any) -> list[Plan]:
    return [Plan(f"e{i}", seats, 1) for i in range(3)]


@pytest.mark.parametrize("n", [1, 4, 9])
def test_the_broker_is_killed_in_the_middle_and_comes_back(n: int) -> None:
    here = world(**WORLDS["chat, all effects"])
    with local() as mine:

        def strike() -> None:
            mine.kill()
            mine.start()

        policies: dict[str, Policy] = {seat: Random() for seat in here.agents}
        policies["b_0"] = Striking(n, strike)
        with elsewhere(mine.url, "killed", policies), Host(mine.url, "killed", here.agents) as host:
            host.ready(20)
            there = collect(here, plans(host.seats()))
            assert host._bus.connections == 2
    assert raw(there) == raw(collect(here, plans({seat: Random() for seat in here.agents})))


def test_a_network_that_loses_doubles_and_reorders() -> None:
    here = world("chat", arena={"rounds": 1})
    near = broker("mosquitto", "lossy")
    proxy = Proxy(near.port, p=0.15, seed=3)
    policies: dict[str, Policy] = {seat: Random() for seat in here.agents}
    with elsewhere(f"mqtt://127.0.0.1:{proxy.port}", "lossy", policies), Host(near.url, "lossy", here.agents) as host:
        host.ready(30)
        there = collect(here, plans(host.seats()))
        proxy.p = 0.0  # so that the agents hear at once that it is over
    assert raw(there) == raw(collect(here, plans({seat: Random() for seat in here.agents})))
    assert min(proxy.counts.values()) > 0
