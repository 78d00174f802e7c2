"""MqttBus on mosquitto against bare aiomqtt doing the same publishes, and an episode on mosquitto against memory.

Everything runs on this machine at QoS 1 with TCP_NODELAY on both ends; the two sides take turns, so that a slow spell
of the machine meets both. It prints JSON lines:

- `one reader`: every agent publishes, and one client reads it all (messages per second until the last has arrived).
- `everyone`: every agent hears everything, as on a public channel (deliveries per second).
  In both, `alone` has a client for each agent on either side, and `shared` all our seats of a process on one connection
  against a client for each agent. Bare `awaited` waits for each acknowledgement before it publishes again, as
  aiomqtt's documentation shows; bare `gathered` has as many under way as MqttBus allows itself. The ratios are to
  the faster of the two.
- `round trip`: there and back between two clients, one message at a time (milliseconds).
- `episode`: 20 rounds and 4 agents who talk and choose, 16 episodes at once: in memory, and with the agents in another
  process behind mosquitto (milliseconds an episode).

    python benchmarks/mqtt.py [--repeats 5]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import secrets
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from statistics import median, quantiles
from time import perf_counter
from typing import Any, Final

import aiomqtt

import arenas
from arenas import Anchors, Arena, Outcome
from arenas.spec import ReplySpec, Words, choose, say, symbols
from marl.policy import Random
from marl.remote.host import Host
from marl.rollout import Plan, collect
from marl.scenario import Scenario, World
from protocols import topics
from protocols.bus import Subscription
from protocols.clock import run
from protocols.envelope import Envelope, Kind
from protocols.mqtt.broker import Mosquitto
from protocols.mqtt.bus import WINDOW, MqttBus

AGENTS: Final = 8
PUBLISHES: Final = {"one reader": 400, "everyone": 60}  # of each agent
ROUND_TRIPS: Final = 1000
EPISODES: Final = 16
BODY: Final = "x" * 200
RUN: Final = "bench"


class Talk(Arena):
    """Four agents say two symbols each, then choose one of four, twenty times; nothing is at stake."""

    metadata = Arena.metadata | {"name": "talk_v0", "is_parallelizable": True}
    cases = 1

    def __init__(self, rounds: int = 20) -> None:
        self.rounds = rounds
        specs = (say(symbols("m", 4), 2), choose(symbols("c", 4)))
        super().__init__(dict.fromkeys((f"a_{i}" for i in range(4)), specs), words=("go",))

    def lay(self, case: int) -> None:
        """Begin."""
        self.stage = 0

    def acting(self) -> tuple[str, ...]:
        """All at once."""
        return tuple(self.possible_agents)

    def spec(self, agent: str) -> ReplySpec:
        """Talk, then choose."""
        return self.replies[agent][self.stage % 2]

    def view(self, agent: str) -> str:
        """Nothing to see."""
        return "go"

    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        """Count the rounds."""
        self.stage += 1
        return Outcome(done=self.stage == 2 * self.rounds)

    def anchors(self) -> Anchors:
        """Nothing to win."""
        return Anchors(0.0, 0.0, 0.0)


def envelope(agent: int, n: int) -> Envelope:
    return Envelope(episode="0", sender=f"a_{agent}", n=n, kind=Kind.SAY, body=BODY)


def topic(agent: int) -> str:
    return topics.sent_by(RUN, "0", f"a_{agent}")


def bare(port: int) -> aiomqtt.Client:
    client = aiomqtt.Client(
        "127.0.0.1",
        port,
        protocol=aiomqtt.ProtocolVersion.V5,
        max_inflight_messages=4 * WINDOW,
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
    )
    client.pending_calls_threshold = 4 * WINDOW
    return client


async def bare_throughput(port: int, traffic: str, *, gathered: bool) -> float:
    publishes = PUBLISHES[traffic]
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(bare(port)) for _ in range(AGENTS)]
        readers = clients if traffic == "everyone" else [await stack.enter_async_context(bare(port))]
        for reader in readers:
            await reader.subscribe(topics.sent_by(RUN, "0"), qos=1)

        async def read(reader: aiomqtt.Client) -> None:
            left = AGENTS * publishes
            async for _ in reader.messages:
                left -= 1
                if not left:
                    return

        async def write(agent: int) -> None:
            limit = asyncio.Semaphore(WINDOW)

            async def publish(raw: bytes) -> None:
                async with limit:
                    await clients[agent].publish(topic(agent), raw, qos=1)

            payloads = [envelope(agent, n).to_json() for n in range(publishes)]
            if gathered:
                await asyncio.gather(*map(publish, payloads))
            else:
                for raw in payloads:
                    await clients[agent].publish(topic(agent), raw, qos=1)

        began = perf_counter()
        await asyncio.gather(*map(read, readers), *map(write, range(AGENTS)))
        return len(readers) * AGENTS * publishes / (perf_counter() - began)


async def bus_throughput(port: int, traffic: str, *, shared: bool) -> float:
    publishes = PUBLISHES[traffic]
    url = f"mqtt://127.0.0.1:{port}"
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(MqttBus(url))
        buses = [first] * AGENTS if shared else [await stack.enter_async_context(MqttBus(url)) for _ in range(AGENTS)]
        readers = buses if traffic == "everyone" else [await stack.enter_async_context(MqttBus(url))]
        inboxes = [await reader.subscribe(topics.sent_by(RUN, "0"), AGENTS * publishes) for reader in readers]

        async def read(inbox: Subscription) -> None:
            for _ in range(AGENTS * publishes):
                await inbox.get()

        async def write(agent: int) -> None:
            for n in range(publishes):
                await buses[agent].publish(topic(agent), envelope(agent, n))

        began = perf_counter()
        await asyncio.gather(*map(read, inboxes), *map(write, range(AGENTS)))
        return len(readers) * AGENTS * publishes / (perf_counter() - began)


async def bare_round_trips(port: int) -> list[float]:
    async with bare(port) as one, bare(port) as other:
        await one.subscribe("back", qos=1)
        await other.subscribe("there", qos=1)

        async def echo() -> None:
            for _ in range(ROUND_TRIPS):
                message = await anext(questions)
                await other.publish("back", message.payload, qos=1)

        questions = aiter(other.messages)

        echoing = asyncio.create_task(echo())
        seconds = []
        answers = aiter(one.messages)
        for n in range(ROUND_TRIPS):
            began = perf_counter()
            await one.publish("there", envelope(0, n).to_json(), qos=1)
            await anext(answers)
            seconds.append(perf_counter() - began)
        await echoing
        return seconds


async def bus_round_trips(port: int) -> list[float]:
    url = f"mqtt://127.0.0.1:{port}"
    async with MqttBus(url) as one, MqttBus(url) as other:
        back, there = await one.subscribe("back"), await other.subscribe("there")

        async def echo() -> None:
            for _ in range(ROUND_TRIPS):
                await other.publish("back", await there.get())

        echoing = asyncio.create_task(echo())
        seconds = []
        for n in range(ROUND_TRIPS):
            began = perf_counter()
            await one.publish("there", envelope(0, n))
            await back.get()
            seconds.append(perf_counter() - began)
        await echoing
        return seconds


def plans(seats: Any) -> list[Plan]:
    return [Plan(f"e{i}", seats, 1) for i in range(EPISODES)]


def episodes(port: int, world: World) -> tuple[float, float]:
    """Return seconds an episode in memory and on mosquitto, with all agents in one other process."""
    began = perf_counter()
    local = collect(world, plans({seat: Random() for seat in world.agents}))
    memory = (perf_counter() - began) / EPISODES
    name = f"bench-{secrets.token_hex(4)}"
    seats = [word for seat in world.agents for word in ("--seat", seat)]
    words = ["agent", f"mqtt://127.0.0.1:{port}", "--run", name, *seats]
    with subprocess.Popen([sys.executable, "-m", "marl", *words], stderr=subprocess.DEVNULL) as agents:
        with Host(f"mqtt://127.0.0.1:{port}", name, world.agents) as host:
            host.ready(30)
            remote = host.seats()
            began = perf_counter()
            there = collect(world, plans(remote))
            seconds = (perf_counter() - began) / EPISODES
        agents.wait()
    if [one.log.to_bytes() for one in there] != [one.log.to_bytes() for one in local]:
        raise RuntimeError("the episodes on mosquitto are not those in memory")
    return memory, seconds


def show(**line: Any) -> None:
    print(json.dumps({"benchmark": "mqtt", **line}), flush=True)


def throughput(port: int, traffic: str, repeats: int) -> None:
    rates: dict[str, list[float]] = {"awaited": [], "gathered": [], "alone": [], "shared": []}
    for _ in range(repeats):
        for gathered in (False, True):
            gc.collect()
            rates["gathered" if gathered else "awaited"].append(
                asyncio.run(bare_throughput(port, traffic, gathered=gathered))
            )
        for shared in (False, True):
            gc.collect()
            rates["shared" if shared else "alone"].append(run(bus_throughput(port, traffic, shared=shared), "wall"))
    rate = {name: median(values) for name, values in rates.items()}
    raw = max(rate["awaited"], rate["gathered"])
    ratios = {name: round(rate[name] / raw, 2) for name in ("alone", "shared")}
    show(what=traffic, agents=AGENTS, **{f"{name}_per_s": round(value) for name, value in rate.items()}, ratio=ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    arenas.ARENAS["talk"] = Talk
    world = World(Scenario.model_validate({"arena": {"name": "talk"}}))
    with Mosquitto() as broker:
        for traffic in PUBLISHES:
            throughput(broker.port, traffic, options.repeats)
        for name, seconds in (
            ("bare", asyncio.run(bare_round_trips(broker.port))),
            ("bus", run(bus_round_trips(broker.port), "wall")),
        ):
            percentiles = quantiles(seconds, n=100)
            show(
                what="round trip",
                side=name,
                p50_ms=round(1000 * percentiles[49], 2),
                p99_ms=round(1000 * percentiles[98], 2),
            )
        pairs = [episodes(broker.port, world) for _ in range(options.repeats)]
        memory, mosquitto = (median(column) for column in zip(*pairs, strict=True))
        show(
            what="episode",
            rounds=20,
            agents=4,
            memory_ms=round(1000 * memory, 1),
            mosquitto_ms=round(1000 * mosquitto, 1),
            ratio=round(mosquitto / memory, 1),
        )


if __name__ == "__main__":
    main()
