"""Host of a run: the referee's side, for seats whose agents are in other processes, behind a broker.

Episodes are played by `marl.rollout.collect`, in virtual time and on a bus in memory; each remote seat has a
`RemotePolicy`. The host sends what such a seat hears to the broker, and accepts its replies after the `HostProtocol`
has checked them. It runs on a thread with a clock of its own, because a broker needs real time.

It recovers from losses: a view is sent again until it is answered or patience runs out, and an agent that arrives late
or missed something gets the episode so far. So a seat may die at any time, and another agent take its place.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from marl.episode import Sample
from marl.errors import UserError
from marl.policy.base import Policy
from marl.remote.host_protocol import HostProtocol, Journal
from marl.remote.outbox import Outbox
from marl.remote.rejections import Rejections
from marl.remote.remote_policy import RemotePolicy
from marl.remote.reply_checks import ReplyChecks
from marl.remote.run_claim import ATTEMPTS, PAUSE, SETTLE
from marl.remote.seat_registry import Lobby
from protocols import clock, topics
from protocols.envelope import REFEREE, Envelope, Kind
from protocols.errors import ProtocolError
from protocols.mqtt.address import Address
from protocols.mqtt.bus import MqttBus
from protocols.topics import LOBBY

TICK: Final = 0.1  # seconds between checks of unanswered views
AGAIN: Final = 2.0  # seconds until new weights are announced again to a seat that does not have them
PARTING: Final = 5.0  # seconds for the last messages, where the broker takes none
T = TypeVar("T")


class Host:
    """A context manager: entering connects; raises ProtocolError without a broker, or if the run has a host already.

    Args:
        url: of the broker.
        run: the name under which agents find this host; one host for each run.
        seats: the seats whose agents are remote.
        tokens: seat -> token that its agent must send; None lets any agent take a free seat.
        patience: real seconds that a seat has for a reply, retries included.
        rejections: counts rejected envelopes.
        journal: called with every reply before the episode continues.
        checks: of what seats say of their replies.
        about: facts about the run that are announced to agents, as JSON values.
    """

    def __init__(
        self,
        url: str,
        run: str,
        seats: Sequence[str],
        *,
        tokens: Mapping[str, str] | None = None,
        patience: float = 60.0,
        rejections: Rejections | None = None,
        journal: Journal | None = None,
        checks: ReplyChecks | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.run = topics.name(run)
        self.rejections = rejections or Rejections()
        self.lobby = Lobby(seats, tokens, lambda seat: self._news.set())
        self.protocol = HostProtocol(
            run,
            secrets.token_hex(8),
            self.lobby,
            self.rejections,
            lambda topic, envelope: self._send(topic, envelope),
            patience=patience,
            journal=journal,
            checks=checks,
        )
        self._about = dict(about or {})
        self._home = topics.sent_by(run, LOBBY, REFEREE)
        self._bus = MqttBus(url, (self._home, self.protocol.notice(Kind.LEAVE)))
        self._out = Outbox()
        self._over = False
        self._failure: BaseException | None = None
        self._defending = False

    @property
    def address(self) -> Address:
        """Address of the broker."""
        return self._bus.address

    # --- for the thread that plays

    def __enter__(self) -> Self:
        self._connected: Future[None] = Future()
        self._thread = threading.Thread(target=self._live, name="host", daemon=True)
        self._thread.start()
        try:
            self._connected.result()
        except BaseException:
            self._thread.join()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = kind is None
        with suppress(Exception):  # raised below
            self._call(self._leave.set)
        self._thread.join()
        if kind is None and self._failure is not None:
            raise self._failure

    def check(self) -> None:
        """Raise what ended the connection, if it has ended."""
        if self._failure is not None:
            raise self._failure

    def ready(self, timeout: float) -> None:
        """Wait until every seat is taken, before t = 0; raises UserError after `timeout` seconds."""
        self._await(self._until(lambda: not self.lobby.missing, timeout, lambda: self.lobby.missing))

    def seats(self) -> dict[str, Policy]:
        """Return a policy for each seat, with the name that its agent announced; from now on that name is fixed."""
        self.lobby.began = True
        return {
            seat: RemotePolicy(self, seat, claim.policy if claim is not None else "remote")
            for seat, claim in self.lobby.claims.items()
        }

    def tell(self, seat: str, envelope: Envelope) -> None:
        """Send a seat an envelope that it hears."""
        self._call(self.protocol.tell, seat, envelope)

    def ask(self, seat: str, view: Envelope) -> Future[Sample | None]:
        """Send a view; the future holds the reply, or None if patience ran out and the scenario has a deadline."""
        answer: Future[Sample | None] = Future()
        self._call(self.protocol.ask, seat, view, answer)
        return answer

    def close(self, seat: str, episode: str) -> None:
        """Drop an episode of a seat, and notify the seat unless it received the end of the episode."""
        self._call(self.protocol.close, seat, episode)

    def publish(self, weights: Mapping[str, tuple[str, int]], timeout: float) -> None:
        """Announce new weights, seat -> (folder, version), and wait until all seats sample with them."""

        def outdated() -> list[str]:
            claims = self.lobby.claims
            return [s for s, (_, version) in weights.items() if (c := claims[s]) is None or c.version != version]

        for seat, (folder, version) in weights.items():
            self._call(self.protocol.renew, seat, {"folder": folder, "version": version})
        self._await(self._renewed(outdated, timeout, {seat: version for seat, (_, version) in weights.items()}))

    def _call(self, function: Callable[..., object], *arguments: Any) -> None:
        self.check()
        self._loop.call_soon_threadsafe(function, *arguments)

    def _await(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return a coroutine's result from the host's thread; raises what ended that thread."""
        result = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        while True:
            try:
                return result.result(timeout=1.0)
            except TimeoutError:
                if self._thread.is_alive() or result.done():
                    continue
                raise self._failure or ProtocolError("the host has ended") from None
            except CancelledError:
                raise self._failure or ProtocolError("the host has ended") from None

    # --- on the host's own thread

    def _live(self) -> None:
        try:
            clock.run(self._serve(), "wall")
        except BaseException as error:  # the other thread raises it
            if not self._connected.done():
                self._connected.set_exception(error)
            self._failure = error
            self.protocol.fail(error)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._leave, self._news, self._work, self._sent = (asyncio.Event() for _ in range(4))
        async with self._bus as bus:
            await self._open(bus)
            bus.reconnected.append(self.protocol.reconnected)
            self._connected.set_result(None)
            work = (self._pump(), self._remind(), bus.broken())
            tasks = [asyncio.create_task(task) for task in work]
            leave = asyncio.create_task(self._leave.wait())
            try:
                done, _ = await asyncio.wait((leave, *tasks), return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                await self._drained()
            finally:
                for task in (leave, *tasks):
                    task.cancel()
                await asyncio.gather(leave, *tasks, return_exceptions=True)
            with suppress(TimeoutError):  # the broker is gone, and with it those who would hear this
                async with asyncio.timeout(PARTING):
                    await bus.announce(self._home, self.protocol.notice(Kind.END if self._over else Kind.LEAVE))
                    await bus.flush()

    async def _drained(self) -> None:
        """Wait until everything is sent, or nothing could be sent for `PARTING` seconds."""
        while self._out:
            before = len(self._out)
            self._sent.clear()
            try:
                await asyncio.wait_for(self._sent.wait(), PARTING)
            except TimeoutError:
                if len(self._out) >= before:
                    return

    async def _open(self, bus: MqttBus) -> None:
        """Claim the name of the run; raises ProtocolError if another host has it."""
        claim = self.protocol.claim
        await bus.watch(topics.sent_by(self.run, "+"), self.protocol.arrived)
        claim.ordered = bus.version >= 5  # amqtt, which speaks 3.1.1, passes messages on in no common order
        for _ in range(ATTEMPTS):
            await self._said(bus, Kind.NOTE)  # by now what the broker retained has arrived
            if claim.holder is not None and claim.decided:
                break
            connections, joined = bus.connections, False
            if claim.holder is None:
                await self._said(bus, Kind.VIEW)
                if not claim.contested:
                    await self._said(bus, Kind.JOIN, **self._about)
                    joined = True
            if not claim.ordered:
                await asyncio.sleep(SETTLE)
            if joined and claim.holder is None and not claim.contested and bus.connections == connections:
                self.protocol.opened = True
                self.protocol.rivalled = self._defend
                self._joined = self.protocol.notice(Kind.JOIN, opened=True, **self._about)
                await bus.announce(self._home, self._joined)
                return
            await asyncio.sleep(random.uniform(*PAUSE))
        if claim.last_is_ours and claim.holder is None:
            await bus.announce(self._home, self.protocol.notice(Kind.LEAVE))
        raise ProtocolError(f"the run {self.run!r} has a host already: choose another name with --run")

    async def _said(self, bus: MqttBus, kind: Kind, **data: Any) -> None:
        """Send a notice, a `join` retained, and wait until it came back; raises ProtocolError if it does not."""
        notice = self.protocol.notice(kind, **data)
        self.protocol.claim.expect(notice)
        if kind is Kind.JOIN:
            await bus.announce(self._home, notice)
        else:
            await bus.publish(self._home, notice)
        try:
            await self.protocol.claim.mirrored(self.protocol.patience)
        except TimeoutError:
            raise ProtocolError(
                f"the broker at {self._bus.address.shown} does not let this user host {self.run!r}: see its access list"
            ) from None

    def _defend(self) -> None:
        """Announce this host again soon, because another one may have replaced what the broker retains."""
        if not self._defending:
            self._defending = True
            self._loop.call_later(TICK, self._announce_again)

    def _announce_again(self) -> None:
        self._defending = False
        task = self._loop.create_task(self._bus.announce(self._home, self._joined))
        self._announcing = task  # a task is kept until it is done

    async def _pump(self) -> None:
        """Publish outgoing envelopes, in order."""
        while True:
            self._work.clear()
            while self._out:
                await self._bus.publish(*self._out.take())
            self._sent.set()
            await self._work.wait()

    async def _remind(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self.protocol.remind()

    async def _renewed(self, outdated: Callable[[], list[str]], seconds: float, versions: Mapping[str, int]) -> None:
        """Wait until no seat is outdated, announcing the weights again to those that are."""
        until = monotonic() + seconds
        while late := outdated():
            if monotonic() > until:
                seat = late[0]
                if self.lobby.claims[seat] is None:
                    raise UserError(self._absent(seat, seconds))
                raise UserError(
                    f"the seat {seat} did not load version {versions[seat]} of its weights within {seconds:g} s: "
                    "its process must be able to read the run folder (host.wait gives it longer)"
                )
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), min(AGAIN, max(0.0, until - monotonic()) + 0.01))
            except TimeoutError:
                self.protocol.renew_again(outdated())

    def _absent(self, seat: str, seconds: float) -> str:
        return (
            f"the seat {seat} was not there within {seconds:g} s: "
            f"marl agent {self._bus.address.shown} --run {self.run} --seat {seat}"
        )

    async def _until(self, reached: Callable[[], bool], seconds: float, missing: Callable[[], list[str]]) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not reached():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise UserError(self._absent(missing()[0], seconds)) from None

    def _send(self, topic: str, envelope: Envelope) -> None:
        self._out.put(topic, envelope)
        self._work.set()
