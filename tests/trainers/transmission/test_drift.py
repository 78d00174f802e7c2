"""Replies that do not count are counted, and change nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from arenas.spec import ReplySpec
from marl.context.transcript import Transcript
from marl.episode import Episode, Sample
from marl.policy.scripted import Random
from marl.rollout.collect import play
from marl.rollout.plan import Plan
from marl.scenario.world import World
from protocols import topics
from protocols.bus import Bus, MemoryBus, Subscription
from protocols.clock import run
from protocols.envelope import Envelope, Kind
from tests.marl.worlds import raw, world

EPISODE = "e"
Nuisance = Callable[[Bus, Subscription], Awaitable[None]]


class Thinks(Random):
    """Takes its time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        await asyncio.sleep(self.seconds)
        return await super().reply(transcript, spec=spec, seed=seed, greedy=greedy)


def reply(view: Envelope, sender: str = "a_0", n: int = 1000, body: str = "m3") -> Envelope:
    return Envelope(episode=EPISODE, sender=sender, n=n, kind=Kind.SAY, body=body, data={"seen": 1}, reply_to=view.seq)


async def post(bus: Bus, envelope: Envelope, seat: str = "a_0") -> None:
    await bus.publish(topics.sent_by("local", EPISODE, seat), envelope)


async def next_view(inbox: Subscription) -> Envelope:
    async for envelope in inbox:
        if envelope.kind is Kind.VIEW:
            return envelope
    raise AssertionError


async def wrong_sender(bus: Bus, views: Subscription) -> None:
    """Another agent answers a view that a_0 was shown."""
    await post(bus, reply(await next_view(views), sender="b_0"), "b_0")


async def unasked(bus: Bus, views: Subscription) -> None:
    """A message that answers nothing."""
    view = await next_view(views)
    await post(bus, reply(view)._replace(reply_to=None))


async def second_reply(bus: Bus, views: Subscription) -> None:
    """a_0 changes its mind after it replied, while the others still think."""
    view = await next_view(views)
    await asyncio.sleep(1.5)
    await post(bus, reply(view))


async def too_late(bus: Bus, views: Subscription) -> None:
    """a_0 answers again when the next round has begun."""
    view = await next_view(views)
    await next_view(views)
    await post(bus, reply(view))


async def twice(bus: Bus, views: Subscription) -> None:
    """The same envelope comes two times, as at-least-once delivery may do; a_0's own first reply has this number."""
    view = await next_view(views)
    await asyncio.sleep(1.5)
    await post(bus, reply(view, n=0))


async def stranger(bus: Bus, views: Subscription) -> None:
    """Somebody without a seat."""
    await post(bus, reply(await next_view(views), sender="z_9"), "z_9")


async def nobody(bus: Bus, views: Subscription) -> None:
    """No nuisance at all."""


def disturbed(here: World, nuisance: Nuisance) -> Episode:
    async def main() -> Episode:
        async with MemoryBus() as bus:
            views = await bus.subscribe(topics.to("local", EPISODE, "a_0"))
            task = asyncio.ensure_future(nuisance(bus, views))
            try:
                return await play(
                    here, bus, Plan(EPISODE, dict(zip(here.agents, map(Thinks, (1.0, 2.0, 2.0)), strict=True)), 1)
                )
            finally:
                await task

    return run(main())


@pytest.mark.parametrize("nuisance", [wrong_sender, unasked, second_reply, too_late, twice, stranger])
def test_a_reply_that_does_not_count_is_counted_and_changes_nothing(nuisance: Nuisance) -> None:
    here = world(arena={"rounds": 2})
    clean, other = disturbed(here, nobody), disturbed(here, nuisance)
    assert clean.drift == 0
    assert other.drift == 1
    assert raw([other]) == raw([clean])
    assert other.rewards == clean.rewards
