"""Client of a remote seat: receives its episodes from a broker, in order, and lets its policy reply.

Envelopes of an episode are numbered (`place`). A view that comes again is answered as before, a missing envelope is
requested; a client that joins late gets the episode so far, with the replies that were given.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic, time_ns
from typing import Any, Final

from arenas.spec import from_wire
from marl.context.transcript import Transcript
from marl.errors import UserError
from marl.policy.base import Policy
from marl.remote.wire import JoinData
from protocols import topics
from protocols.envelope import REFEREE, Envelope, Kind
from protocols.errors import ProtocolError
from protocols.mqtt.bus import MqttBus
from protocols.topics import LOBBY

logger = logging.getLogger(__name__)
CAPACITY: Final = 65_536
PARTING: Final = 5.0
"""Seconds for the last messages, where the broker takes none."""
PERIOD: Final = 1.0
"""Seconds between joins until the host answers, and between requests for what is missing."""
Renew = Callable[[str, dict[str, Any]], int]
"""Loads new weights (seat, {"folder", "version"}) and returns their version."""


@dataclass(slots=True)
class _Episode:
    """State of one episode in one client."""

    transcript: Transcript
    have: int = 0
    length: int = 0
    last: Envelope | None = None
    thinking: asyncio.Task[None] | None = None
    requested: float = 0.0


class SeatClient:
    """One seat. `sit` takes part until the host ends the run.

    Args:
        name: of the seat.
        policy: replies for the seat.
        bus: the broker; many seats may share one connection.
        run: of the host.
        agent: identity of this process among all that want the seat.
        token: of the seat, as the host printed it.
        lead: seat of the same agent whose last will speaks for this one too.
        notice: called with a sentence for the user.
        renew: loads new weights, if the policy can.
    """

    def __init__(
        self,
        name: str,
        policy: Policy,
        bus: MqttBus,
        run: str,
        agent: str,
        *,
        token: str = "",
        lead: str = "",
        notice: Callable[[str], None] = lambda _: None,
        renew: Renew | None = None,
    ) -> None:
        self.name, self.policy, self.bus, self.run = name, policy, bus, topics.name(run)
        self.agent, self.token = agent, token
        self.lead = "" if lead == name else lead
        self.version = 0 if renew is None else -1
        self.played = 0
        self.dropped = 0
        """Payloads that were not envelopes, or arrived at a full inbox."""
        self._inbox: asyncio.Queue[tuple[str, Envelope]] = asyncio.Queue(CAPACITY)
        self.seated = False
        """Whether the host gave this agent the seat."""
        self._notice, self._renew = notice, renew
        self._episodes: dict[str, _Episode] = {}
        self._count = self._began = time_ns()  # this seat's own count in the lobby
        self._home = topics.sent_by(self.run, LOBBY, name)
        self._host = ""
        self._heard: dict[str, int] = {}
        """Host -> its own count of its last words to this seat."""
        self._welcome = asyncio.Event()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def sit(self) -> None:
        """Take part; raises UserError if the host rejects this agent, or its policy fails."""
        # Unlike an inbox this accepts an envelope twice: envelopes are sent again to recover from losses.
        await self.bus.watch(topics.sent_by(self.run, LOBBY, REFEREE), self._arrived)
        await self.bus.watch(topics.to(self.run, "+", self.name), self._arrived)
        tasks = [asyncio.create_task(self._hear()), asyncio.create_task(self._knock())]
        try:
            done, _ = await asyncio.wait((*tasks, self._failed), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            thinking = [e.thinking for e in self._episodes.values() if e.thinking is not None]
            for task in (*tasks, *thinking):
                task.cancel()
            await asyncio.gather(*tasks, *thinking, return_exceptions=True)
            for episode in self._episodes.values():
                self.policy.close(episode.transcript)

    async def leave(self) -> None:
        """Leave the seat, and announce it."""
        await self.bus.announce(self._home, self._presence(Kind.LEAVE))

    def _presence(self, kind: Kind, **data: Any) -> Envelope:
        self._count += 1
        data = {"agent": self.agent, "policy": self.policy.name, "version": self.version, **data}
        if self.token:
            data["token"] = self.token
        if self.lead:
            data["lead"] = self.lead
        return Envelope(LOBBY, self.name, self._count, kind, REFEREE, data=data)

    async def _knock(self) -> None:
        """Announce this seat repeatedly until the host answers."""
        said = False
        while True:
            await asyncio.sleep(PERIOD)
            if self._welcome.is_set():
                said = False
                continue
            await self.bus.announce(self._home, self._presence(Kind.JOIN))
            if not said:
                self._notice(f"{self.name}: waiting for the host of run {self.run}")
                said = True

    def _arrived(self, topic: str, raw: bytes) -> None:
        try:
            self._inbox.put_nowait((topic, Envelope.from_json(raw)))
        except (ProtocolError, asyncio.QueueFull):
            self.dropped += 1  # a missing envelope leaves a gap, and is requested again

    async def _hear(self) -> None:
        """Handle envelopes until the run is over."""
        home = topics.sent_by(self.run, LOBBY, REFEREE)
        while True:
            topic, envelope = await self._inbox.get()
            if topic == home:
                if await self._host_said(envelope):
                    return
            elif envelope.episode == LOBBY:
                await self._lobby(envelope)
            elif isinstance(envelope.data.get("place"), int):
                await self._take(envelope, envelope.data["place"])

    async def _host_said(self, envelope: Envelope) -> bool:
        """Handle a host's announcement: join a new host, wait for one that left; return whether the run is over."""
        ours = self._host != "" and envelope.data.get("host") == self._host  # not another host, nor an earlier one
        if envelope.kind is Kind.END and ours:
            return True
        if envelope.kind is Kind.LEAVE and ours:
            self._notice(f"{self.name}: the host left; waiting for it to come back")
            self._host = ""
            self._welcome.clear()
        if envelope.kind is Kind.JOIN and not ours:
            seats = envelope.data.get("seats")
            if isinstance(seats, list) and not self.seated and self.name not in seats:
                names = ", ".join(map(str, seats))
                raise UserError(f"the run {self.run} has no remote seat {self.name!r}: choose one of {names}")
            self._welcome.clear()  # only an answer proves that it is the host
            await self.bus.announce(self._home, self._presence(Kind.JOIN))
        return False

    async def _lobby(self, envelope: Envelope) -> None:
        agent, host = envelope.data.get("agent"), str(envelope.data.get("host"))
        if envelope.kind is Kind.LEAVE:
            # One who is seated is rejected for what it said itself, and not for what others say in its name.
            mine = self._began < (envelope.reply_to or 0) <= self._count
            if agent == self.agent and (mine or not self._welcome.is_set()):
                raise UserError(envelope.body)
            return
        if agent not in (self.agent, "") or envelope.n < self._heard.get(host, 0):
            return
        self._heard[host] = envelope.n
        if not self._welcome.is_set():
            self._notice(f"{self.name}: joined the run {self.run} as {self.policy.name}")
        self._host = host
        self._welcome.set()
        self.seated = True
        weights = envelope.data.get("weights")
        if isinstance(weights, dict) and self._renew is not None:
            if weights.get("version") != self.version:  # on a thread: the connection must stay alive meanwhile
                self.version = await asyncio.to_thread(self._renew, self.name, weights)
            await self.bus.announce(self._home, self._presence(Kind.JOIN, have={}))

    async def _take(self, envelope: Envelope, place: int) -> None:
        """Handle an envelope of an episode if it is the next one."""
        episode = self._episodes.get(envelope.episode)
        if episode is None:
            if envelope.kind is Kind.END:
                return
            episode = self._episodes[envelope.episode] = _Episode(self.policy.open())
        if place < episode.have:
            again = episode.last is not None and episode.last.reply_to == envelope.seq
            if again and episode.last is not None and "replied" not in envelope.data:
                await self._send(episode.last)
            return
        if place > episode.have and envelope.kind is not Kind.END:
            if monotonic() - episode.requested > PERIOD:
                episode.requested = monotonic()
                await self.bus.publish(self._home, self._presence(Kind.JOIN, have={envelope.episode: episode.have}))
            return
        episode.have += 1
        transcript = episode.transcript
        if episode.thinking is not None and not episode.thinking.done():
            episode.thinking.cancel()  # the host did not wait for this reply
        if envelope.data.get("late"):
            transcript.take_back(episode.length)
        if envelope.kind is Kind.END:
            transcript.hear(envelope)
            self.policy.close(transcript)
            del self._episodes[envelope.episode]
            self.played += 1
            return
        transcript.hear(envelope)
        if envelope.kind is Kind.VIEW:
            transcript.ask()
            episode.length = len(transcript.ids)
            if "replied" in envelope.data:
                transcript.replied(envelope.data["replied"] or ())
            else:
                episode.thinking = asyncio.create_task(self._think(episode, envelope))

    async def _think(self, episode: _Episode, view: Envelope) -> None:
        """Reply to a view; a policy that fails ends the episode, and a UserError ends the client too."""
        try:
            spec = from_wire(view.data["reply"])
            sample = await self.policy.reply(
                episode.transcript, spec=spec, seed=int(view.data["seed"]), greedy=bool(view.data.get("greedy"))
            )
            reply = Envelope(
                view.episode,
                self.name,
                int(view.data["n"]),
                Kind(spec.kind),
                body=sample.text,
                data=sample.to_data() | ({"token": self.token} if self.token else {}),
                reply_to=view.seq,
            )
        except Exception as error:
            logger.exception("%s in episode %s", self.name, view.episode)
            why = str(error) if isinstance(error, UserError) else repr(error)
            data = {"token": self.token} if self.token else {}
            number, to = int(view.data.get("n", 0)), view.seq
            reply = Envelope(view.episode, self.name, number, Kind.END, REFEREE, body=why, data=data, reply_to=to)
            if isinstance(error, UserError) and not self._failed.done():
                self._failed.set_exception(error)
        episode.last = reply
        await self._send(reply)

    async def _send(self, reply: Envelope) -> None:
        await self.bus.publish(topics.sent_by(self.run, reply.episode, self.name), reply)


async def sit(
    url: str,
    run: str,
    agent: str,
    policies: Mapping[str, Policy],
    *,
    tokens: Mapping[str, str],
    notice: Callable[[str], None],
    renew: Renew | None = None,
) -> int:
    """Take seats over one connection until the run is over; return the largest number of episodes that one played.

    Raises ProtocolError if the broker cannot be reached, and UserError if the host rejects an agent.
    """
    seats: list[SeatClient] = []
    first = next(iter(policies))
    presence = JoinData(agent=agent, token=tokens.get(first, "")).model_dump(exclude_defaults=True)
    will = Envelope(
        LOBBY, first, time_ns() - 1, Kind.LEAVE, REFEREE, data=presence
    )  # speaks for all seats of the agent
    async with MqttBus(url, (topics.sent_by(topics.name(run), LOBBY, first), will)) as bus:
        for name, policy in policies.items():
            token = tokens.get(name, "")
            options: dict[str, Any] = {"token": token, "lead": first, "notice": notice, "renew": renew}
            seats.append(SeatClient(name, policy, bus, run, agent, **options))
        sitting = [asyncio.create_task(seat.sit()) for seat in seats]
        broken = asyncio.create_task(bus.broken())
        try:
            over = asyncio.gather(*sitting)
            await asyncio.wait((over, broken), return_when=asyncio.FIRST_COMPLETED)
            await (broken if broken.done() else over)
        finally:
            for task in (*sitting, broken):
                task.cancel()
            await asyncio.gather(*sitting, broken, return_exceptions=True)
            with suppress(ProtocolError, TimeoutError):
                async with asyncio.timeout(PARTING):
                    for seat in seats:
                        if seat.seated:
                            await seat.leave()
    return max(seat.played for seat in seats)
