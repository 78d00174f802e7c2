"""Step an episode from synchronous code; it pauses whenever an external reply is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from typing_extensions import override

from arenas import ArenaError
from arenas.spec import ReplySpec
from marl.context.transcript import Transcript
from marl.episode import Episode, Sample
from marl.policy.base import TextPolicy
from marl.rollout.collect import play
from marl.rollout.plan import Plan, header
from marl.scenario.world import World
from protocols.bus import MemoryBus
from protocols.clock import EpisodeLoop, in_event_loop
from protocols.envelope import Kind

T = TypeVar("T")


class ExternalPolicy(TextPolicy):
    """A seat whose replies come from outside the event loop. `spec` is not None while it waits for `answer`."""

    name = "outside"

    def __init__(self, session: Session) -> None:
        self.transcript = Transcript()
        self.spec: ReplySpec | None = None
        self._session = session
        self._reply: asyncio.Future[str] | None = None

    @override
    def open(self) -> Transcript:
        self.transcript = super().open()
        return self.transcript

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        """Wait until `answer` is called."""
        self.spec, self._reply = spec, asyncio.get_running_loop().create_future()
        self._session.pause()
        return Sample(await self._reply)

    def answer(self, text: str) -> None:
        """Reply with a text."""
        assert self._reply is not None
        self.spec = None
        self._reply.set_result(text)


class Session:
    """Episodes of a world, one after another, with all seats played from outside."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.seats = {agent: ExternalPolicy(self) for agent in world.agents}
        self._loop = EpisodeLoop("virtual")
        self._episode: asyncio.Task[Episode] | None = None
        self._paused: asyncio.Future[None] | None = None
        self._read = 0

    def begin(self, seed: int, deal: Mapping[str, Any]) -> None:
        """Begin an episode and play until the first replies are needed."""
        self.stop()
        self.seats = {agent: ExternalPolicy(self) for agent in self.world.agents}
        plan = Plan(f"outside-{seed}", self.seats, seed, dict(deal))
        self.log = header(self.world, plan)
        self._read = 0
        self._episode = self._loop.create_task(self._play(plan))
        self._run(self._play_to_pause())

    def answer(self, replies: Mapping[str, str]) -> None:
        """Reply for all agents that are asked, and play until the next replies are needed or the episode ends."""
        for agent, text in replies.items():
            self.seats[agent].answer(text)
        self._run(self._play_to_pause())

    def asked(self) -> dict[str, ReplySpec]:
        """Return the specs of the replies that are needed now, in seat order."""
        return {agent: seat.spec for agent, seat in self.seats.items() if seat.spec is not None}

    def paid(self) -> dict[str, float]:
        """Return the rewards since the last call."""
        total = dict.fromkeys(self.seats, 0.0)
        for envelope, _ in self.log.entries[self._read :]:
            if envelope.kind is Kind.REWARD:
                for agent, reward in envelope.data.items():
                    total[agent] += reward
        self._read = len(self.log.entries)
        return total

    @property
    def episode(self) -> Episode | None:
        """The finished episode; None while it is being played. Raises ArenaError if it failed."""
        if self._episode is None or not self._episode.done():
            return None
        episode = self._episode.result()
        if episode.error:
            raise ArenaError(f"{self.world.arena.name}: the episode failed: {episode.error}")
        return episode

    def stop(self) -> None:
        """Cancel an episode that has not ended."""
        if self._episode is not None and not self._episode.done():
            self._episode.cancel()
            self._run(asyncio.wait({self._episode}))

    def close(self) -> None:
        """Cancel the episode and close the loop."""
        if not self._loop.is_closed():
            self.stop()
            self._run(self._loop.shutdown_asyncgens())
            self._loop.close()

    def pause(self) -> None:
        """Pause the episode, because a reply is needed, once all that can happen at this instant has happened."""
        if self._paused is not None and not self._paused.done():
            self._paused.set_result(None)

    async def _play(self, plan: Plan) -> Episode:
        async with MemoryBus() as bus:
            return await play(self.world, bus, plan, log=self.log)

    async def _play_to_pause(self) -> None:
        assert self._episode is not None
        while not self._episode.done() and not self.asked():
            self._paused = self._loop.create_future()
            either: set[asyncio.Future[Any]] = {self._episode, self._paused}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not self._episode.done():
            await self._loop.settled()  # until all agents that are asked at this instant have been

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the session's loop: on a thread if this one runs a loop already, as in a notebook."""
        if not in_event_loop():
            return self._loop.run_until_complete(work)
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(self._loop.run_until_complete, work).result()
