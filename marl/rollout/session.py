"""Episodes that stand still while someone outside their loop is asked, for callers who step them from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from arenas import ArenaError
from arenas.spec import ReplySpec
from marl.context.transcript import Transcript
from marl.episode import Episode, Sample
from marl.policy.base import TextPolicy
from marl.rollout.collect import play
from marl.rollout.plan import Plan, header
from marl.scenario.world import World
from protocols.bus import MemoryBus
from protocols.clock import EpisodeLoop
from protocols.envelope import Kind

T = TypeVar("T")


class Outside(TextPolicy):
    """A seat whose replies come from outside the loop: `spec` is what it is asked, until `answer` is called."""

    name = "outside"

    def __init__(self, session: Session) -> None:
        self.transcript = Transcript()
        self.spec: ReplySpec | None = None
        self._session = session
        self._reply: asyncio.Future[str] | None = None

    def open(self) -> Transcript:
        """Return a transcript, and keep it to be looked at."""
        self.transcript = super().open()
        return self.transcript

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        """Wait for the answer."""
        self.spec, self._reply = spec, asyncio.get_running_loop().create_future()
        self._session.someone_is_asked()
        return Sample(await self._reply)

    def answer(self, text: str) -> None:
        """Give the reply."""
        assert self._reply is not None
        self.spec = None
        self._reply.set_result(text)


class Session:
    """Episodes of a world, each of which stands still while someone outside is asked."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.seats = {agent: Outside(self) for agent in world.agents}
        self._loop = EpisodeLoop("virtual")
        self._episode: asyncio.Task[Episode] | None = None
        self._asked: asyncio.Future[None] | None = None
        self._read = 0

    def begin(self, seed: int, deal: Mapping[str, Any]) -> None:
        """Begin an episode and play to the first question."""
        self.stop()
        self.seats = {agent: Outside(self) for agent in self.world.agents}
        plan = Plan(f"outside-{seed}", self.seats, seed, dict(deal))
        self.log = header(self.world, plan)
        self._read = 0
        self._episode = self._loop.create_task(self._play(plan))
        self._run(self._until_asked())

    def answer(self, replies: Mapping[str, str]) -> None:
        """Give the replies of all who are asked, and play to the next question or to the end."""
        for agent, text in replies.items():
            self.seats[agent].answer(text)
        self._run(self._until_asked())

    def asked(self) -> dict[str, ReplySpec]:
        """Return what is asked of whom, in seat order."""
        return {agent: seat.spec for agent, seat in self.seats.items() if seat.spec is not None}

    def paid(self) -> dict[str, float]:
        """Return what was paid since this was last asked for."""
        total = dict.fromkeys(self.seats, 0.0)
        for envelope, _ in self.log.entries[self._read :]:
            if envelope.kind is Kind.REWARD:
                for agent, reward in envelope.data.items():
                    total[agent] += reward
        self._read = len(self.log.entries)
        return total

    @property
    def episode(self) -> Episode | None:
        """The finished episode; None while it goes on. Raises ArenaError if it failed."""
        if self._episode is None or not self._episode.done():
            return None
        episode = self._episode.result()
        if episode.error:
            raise ArenaError(f"{self.world.arena.name}: the episode failed: {episode.error}")
        return episode

    def stop(self) -> None:
        """Leave an episode that is not over."""
        if self._episode is not None and not self._episode.done():
            self._episode.cancel()
            self._run(asyncio.wait({self._episode}))

    def close(self) -> None:
        """Leave the episode and close the loop."""
        if not self._loop.is_closed():
            self.stop()
            self._run(self._loop.shutdown_asyncgens())
            self._loop.close()

    def someone_is_asked(self) -> None:
        """Wake whoever waits for a question."""
        if self._asked is not None and not self._asked.done():
            self._asked.set_result(None)

    async def _play(self, plan: Plan) -> Episode:
        async with MemoryBus() as bus:
            return await play(self.world, bus, plan, log=self.log)

    async def _until_asked(self) -> None:
        assert self._episode is not None
        while not self._episode.done() and not self.asked():
            self._asked = self._loop.create_future()
            either: set[asyncio.Future[Any]] = {self._episode, self._asked}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not self._episode.done():
            await self._loop.settled()  # until all who are asked at this instant are

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        outer = asyncio._get_running_loop()  # a notebook's, which waits meanwhile
        asyncio._set_running_loop(None)
        try:
            return self._loop.run_until_complete(work)
        finally:
            asyncio._set_running_loop(outer)
