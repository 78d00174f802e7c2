"""Deliveries per second: MemoryBus against autogen-core's SingleThreadedAgentRuntime, in one process and one run.

One publisher, n subscribers on its topic; every publish makes a message of its own with a 200-byte body, and every
delivery is consumed: here by a task that reads its inbox with `async for`, there by the agent's handler. Both read the
body. Two shapes of traffic:

- `burst`: the publisher runs ahead as far as the bus lets it: here until the inboxes are full, there without limit.
- `paced`: the publisher waits until everyone has consumed a message before it sends the next, so every delivery wakes
  its reader.

Needs autogen-core (its protobuf pin cannot share an environment with a recent tensorboard). It prints JSON lines:

    python benchmarks/bus.py [--clock wall] [--repeats 5]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
from collections.abc import Awaitable, Callable
from statistics import median
from time import perf_counter
from typing import Any, Final, get_args

from autogen_core import AgentId, BaseAgent, MessageContext, SingleThreadedAgentRuntime, TopicId, TypeSubscription

from protocols import topics
from protocols.bus import CAPACITY, MemoryBus, Subscription
from protocols.clock import ClockName, run
from protocols.envelope import Envelope, Kind

BODY: Final = "x" * 200
AGENTS: Final = (1, 8, 64)
DELIVERIES: Final = {"burst": 40_000, "paced": 8_000}  # of a repeat, on either side


class Tally:
    """Counts what was consumed and wakes the publisher when a message has reached everyone."""

    def __init__(self, agents: int) -> None:
        self.agents = agents
        self.deliveries = 0
        self.characters = 0
        self.everyone = asyncio.Event()

    def consume(self, envelope: Envelope) -> None:
        """Read one delivery."""
        self.characters += len(envelope.body)
        self.deliveries += 1
        if self.deliveries % self.agents == 0:
            self.everyone.set()

    async def until(self, deliveries: int) -> None:
        """Wait for that many deliveries."""
        while self.deliveries < deliveries:
            self.everyone.clear()
            await self.everyone.wait()


async def drive(publish: Callable[[Envelope], Awaitable[None]], tally: Tally, publishes: int, ahead: int) -> float:
    """Publish with at most `ahead` messages under way; return deliveries per second."""
    started = perf_counter()
    for n in range(publishes):
        if n >= tally.deliveries // tally.agents + ahead:
            await tally.until((n - ahead + 1) * tally.agents)
        await publish(Envelope(episode="0", sender="a_0", n=n, kind=Kind.SAY, body=BODY))
    await tally.until(publishes * tally.agents)
    seconds = perf_counter() - started
    if tally.characters != publishes * tally.agents * len(BODY):
        raise RuntimeError(f"{tally.characters} characters arrived of {publishes * tally.agents * len(BODY)}")
    return publishes * tally.agents / seconds


async def read(inbox: Subscription, tally: Tally) -> None:
    async for envelope in inbox:
        tally.consume(envelope)


async def sabir(agents: int, publishes: int, ahead: int) -> float:
    tally = Tally(agents)
    topic = topics.sent_by("bench", "0", "a_0")
    async with MemoryBus() as bus, asyncio.TaskGroup() as readers:
        inboxes = [await bus.subscribe(topics.sent_by("bench", "0")) for _ in range(agents)]
        for inbox in inboxes:
            readers.create_task(read(inbox, tally))
        rate = await drive(lambda envelope: bus.publish(topic, envelope), tally, publishes, min(ahead, CAPACITY))
        for inbox in inboxes:
            inbox.close()
    return rate


class Listener(BaseAgent):  # type: ignore[misc]
    """The cheapest agent autogen-core allows: no routing by message type."""

    def __init__(self, tally: Tally) -> None:
        super().__init__("counts")
        self.tally = tally

    async def on_message_impl(self, message: Any, ctx: MessageContext) -> None:
        """Read one delivery."""
        self.tally.consume(message)


async def autogen(agents: int, publishes: int, ahead: int) -> float:
    tally = Tally(agents)
    runtime = SingleThreadedAgentRuntime()
    for i in range(agents):
        await Listener.register(runtime, f"a_{i}", lambda: Listener(tally), skip_class_subscriptions=True)
        await runtime.add_subscription(TypeSubscription("talk", f"a_{i}"))
        await runtime.try_get_underlying_agent_instance(AgentId(f"a_{i}", "0"))  # made now, not at the first message
    topic = TopicId("talk", "0")
    runtime.start()
    rate = await drive(lambda envelope: runtime.publish_message(envelope, topic), tally, publishes, ahead)
    await runtime.stop()
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clock", choices=get_args(ClockName), default="wall")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    for traffic, deliveries in DELIVERIES.items():
        for agents in AGENTS:
            ours, theirs = [], []
            publishes = deliveries // agents
            ahead = 1 if traffic == "paced" else publishes
            for _ in range(options.repeats):  # in turn, so that a slow spell of the machine meets both
                gc.collect()
                ours.append(run(sabir(agents, publishes, ahead), options.clock))
                gc.collect()
                theirs.append(asyncio.run(autogen(agents, publishes, ahead)))
            line = {
                "benchmark": "bus",
                "agents": agents,
                "sabir_per_s": round(median(ours)),
                "autogen_per_s": round(median(theirs)),
                "ratio": round(median(ours) / median(theirs), 1),
                "traffic": traffic,
                "clock": options.clock,
            }
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
