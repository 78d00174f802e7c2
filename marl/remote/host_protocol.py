"""Host-side protocol state (no I/O): history, pending requests and validation per seat.

It knows neither threads nor brokers: outgoing envelopes go to a callback, incoming ones are passed in as topic and
bytes. An envelope that breaks the protocol is rejected with a reason, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import monotonic, time_ns
from typing import Any, Final

from marl.episode import Sample
from marl.errors import UserError
from marl.remote import wire
from marl.remote.rate_limit import RateLimit
from marl.remote.rejections import Reason, Rejections
from marl.remote.reply_checks import ReplyChecks
from marl.remote.resends import Resends
from marl.remote.run_claim import RunClaim
from marl.remote.seat_registry import Lobby
from protocols import topics
from protocols.envelope import MAX_BYTES, REFEREE, Envelope, Kind
from protocols.errors import ProtocolError
from protocols.topics import LOBBY

AGAIN: Final = (0.5, 8.0)
"""First and longest wait in seconds before an unanswered view is sent again; each wait is 1.5 times the last one."""
Journal = Callable[[str, str, Sample | None], None]
"""Called with episode, seat and reply (None: patience ran out) before the episode continues."""
Rejection = tuple[Reason, str]


@dataclass(slots=True)
class _Asked:
    """A view without a reply."""

    view: Envelope
    index: int
    """Of the view among the envelopes sent to the seat."""
    answer: Future[Sample | None]
    until: float
    next: float
    wait: float = AGAIN[0]


@dataclass(slots=True)
class _Seated:
    """One seat of one episode: all envelopes sent to it, and the view that it has not answered."""

    sent: list[Envelope] = field(default_factory=list)
    asked: _Asked | None = None
    numbers: set[int] = field(default_factory=set)
    """Counts `n` of the envelopes accepted from it."""


class HostProtocol:
    """Protocol of one host. Use it from one thread only.

    Args:
        run: the name of the run.
        host: identity of this host among all that ever had this run.
        lobby: the registry of seats.
        rejections: counts rejected envelopes.
        send: called with topic and envelope.
        patience: real seconds that a seat has for a reply, retries included.
        journal: called with every reply.
        checks: of what seats say of their replies.
    """

    def __init__(
        self,
        run: str,
        host: str,
        lobby: Lobby,
        rejections: Rejections,
        send: Callable[[str, Envelope], None],
        *,
        patience: float = 60.0,
        journal: Journal | None = None,
        checks: ReplyChecks | None = None,
    ) -> None:
        self.run, self.host, self.lobby, self.rejections, self.patience = run, host, lobby, rejections, patience
        self.missed = 0
        """Envelopes that seats sent and that never arrived, by the seats' own counts."""
        self.opened = False
        """Whether this host has claimed the run."""
        self.claim = RunClaim(host)
        self.rivalled: Callable[[], None] = lambda: None
        """Called when another host spoke as if it had this run."""
        self._send_to = send
        self._journal = journal or (lambda episode, seat, sample: None)
        self._checks = checks or ReplyChecks()
        self._seated: dict[tuple[str, str], _Seated] = {}
        self._weights: dict[str, dict[str, Any]] = {}
        self._resends = Resends()
        self.limit = RateLimit()
        self._count = time_ns()  # the host's own count in the lobby; no two hosts begin with the same

    # --- outgoing

    def tell(self, seat: str, envelope: Envelope) -> None:
        """Send a seat an envelope that it hears."""
        seated = self._seated.setdefault((envelope.episode, seat), _Seated())
        sent = envelope._replace(data={**envelope.data, "place": len(seated.sent)})
        seated.sent.append(sent)
        self._send(envelope.episode, seat, sent)

    def ask(self, seat: str, view: Envelope, answer: Future[Sample | None]) -> None:
        """Send a view; `answer` is set to the reply, or None if patience ran out and the scenario has a deadline."""
        seated = self._seated.setdefault((view.episode, seat), _Seated())
        now = monotonic()
        seated.asked = _Asked(view, len(seated.sent), answer, now + self.patience, now + AGAIN[0])
        self.tell(seat, view._replace(data={**view.data, "n": max(seated.numbers, default=-1) + 1}))

    def close(self, seat: str, episode: str) -> None:
        """Drop an episode of a seat, and notify the seat unless it received the end of the episode."""
        seated = self._seated.get((episode, seat))
        if seated is None:
            return
        if not seated.sent or seated.sent[-1].kind is not Kind.END:
            self.tell(seat, Envelope(episode, REFEREE, 0, Kind.END, seat, body="stopped"))
        del self._seated[episode, seat]

    def remind(self) -> None:
        """Send unanswered views again, and give up those whose patience ran out."""
        now = monotonic()
        for (episode, seat), seated in tuple(self._seated.items()):
            asked = seated.asked
            if asked is None:
                continue
            if now >= asked.until:
                self._give_up(episode, seat, seated)
            elif now >= asked.next:
                asked.next, asked.wait = now + asked.wait, min(1.5 * asked.wait, AGAIN[1])
                self._send(episode, seat, seated.sent[asked.index])
        self._resend()

    def reconnected(self) -> None:
        """Handle a reconnect: agents count as absent until they announce themselves; unanswered views are resent."""
        self.lobby.doubt()
        for seated in self._seated.values():
            if seated.asked is not None:
                seated.asked.next = 0.0

    def fail(self, error: BaseException) -> None:
        """Raise an error in all who wait for a reply."""
        for seated in self._seated.values():
            if seated.asked is not None:
                self._answer(seated, error)

    def renew(self, seat: str, weights: dict[str, Any]) -> None:
        """Announce new weights to a seat, and to any agent that takes it later."""
        self._weights[seat] = weights
        self._welcome(seat)

    def notice(self, kind: Kind, **data: Any) -> Envelope:
        """Return an envelope in which the host announces its own state in the lobby."""
        self._count += 1
        return Envelope(LOBBY, REFEREE, self._count, kind, data={"host": self.host, **data})

    def renew_again(self, seats: Iterable[str]) -> None:
        """Announce the weights again to seats that may have missed them."""
        for seat in seats:
            self._welcome(seat)

    def _welcome(self, seat: str) -> None:
        claim = self.lobby.claims[seat]
        data: dict[str, Any] = {"agent": "" if claim is None else claim.agent}
        if seat in self._weights:
            data["weights"] = self._weights[seat]
        self._send(LOBBY, seat, self.notice(Kind.JOIN, **data)._replace(to=seat))

    def _send(self, episode: str, seat: str, envelope: Envelope) -> None:
        self._send_to(topics.to(self.run, episode, seat), envelope)

    # --- incoming

    def arrived(self, topic: str, raw: bytes) -> None:
        """Check and handle a payload under a topic of this run, unless its seat sends too much."""
        now, (_, _, rest) = monotonic(), topic.partition("/")
        episode, seat = rest.split("/")[1:2], topic.rpartition("/")[2]
        limited = seat if seat in self.lobby.claims else ""  # all strangers share one limit
        if self.limit.over(limited, now) and seat != REFEREE:
            seated = self._seated.get((episode[0] if episode else "", seat))
            if seated is None or seated.asked is None:
                why = f"{limited or 'a stranger'} sends too much: what is not awaited is dropped"
                return self.rejections.add(Reason.RATE, topic, raw, why, line=self.limit.drop(limited))
        before = self.rejections.total
        self._check(topic, raw)
        if self.rejections.total > before or episode == [LOBBY]:
            self.limit.spend(limited, len(raw), now)
        return None

    def _check(self, topic: str, raw: bytes) -> None:
        try:
            where = topics.parse(topic)
        except ProtocolError as error:
            return self.rejections.add(Reason.TOPIC, topic, raw, str(error))
        try:
            envelope = Envelope.from_json(raw)
        except ProtocolError as error:
            reason = Reason.OVERSIZE if len(raw) > MAX_BYTES else Reason.MALFORMED
            return self.rejections.add(reason, topic, raw, str(error))
        if envelope.sender != where.agent:
            return self.rejections.add(Reason.SENDER, topic, raw, f"{envelope.sender} on the topic of {where.agent}")
        if envelope.episode != where.episode:
            return self.rejections.add(
                Reason.EPISODE, topic, raw, f"{envelope.episode} on the topic of {where.episode}"
            )
        if where.agent == REFEREE and where.episode == LOBBY:
            if self._mirrored(envelope):
                return None
            return self.rejections.add(Reason.SENDER, topic, raw, "another host")
        if where.agent not in self.lobby.claims:
            if where.episode == LOBBY and envelope.kind is Kind.LEAVE:
                return None  # an earlier run of this name had such a seat
            return self.rejections.add(Reason.SEAT, topic, raw, where.agent)
        rejection = self._presence(envelope) if where.episode == LOBBY else self._replied(envelope)
        if rejection is not None:
            self.rejections.add(rejection[0], topic, raw, rejection[1])
        return None

    def _mirrored(self, envelope: Envelope) -> bool:
        """Handle a host's announcement; False if it is another host's, after this one has claimed the run."""
        self.claim.heard(envelope)
        if not self.opened or self.claim.is_ours(envelope):
            return True
        if envelope.kind is not Kind.VIEW:
            self.rivalled()
        return False

    def _presence(self, envelope: Envelope) -> Rejection | None:
        seat = envelope.sender
        try:
            data = wire.join(envelope)
        except ProtocolError as error:
            return Reason.DATA, str(error)
        if envelope.kind is Kind.LEAVE:
            if not self.lobby.knows(seat, data.token):
                return Reason.TOKEN, ""
            return self.lobby.leave(seat, data.agent, envelope.n)
        if envelope.kind is not Kind.JOIN:
            return Reason.KIND, envelope.kind.value
        if (rejection := self.lobby.join(seat, data, envelope.n, proven=self.opened)) is not None:
            holder = self.lobby.claims[seat]
            if data.agent and rejection[0] is not Reason.REPLAYED and (holder is None or holder.agent != data.agent):
                answer = self.notice(Kind.LEAVE, agent=data.agent)
                self._send(LOBBY, seat, answer._replace(to=seat, body=rejection[1], reply_to=envelope.n))
            return rejection
        if data.have is None or self._weights.get(seat, {}).get("version", data.version) != data.version:
            self._welcome(seat)
        self._resends.request(seat, data.have)
        self._resend()
        return None

    def _resend(self) -> None:
        """Send again what seats asked for."""
        for seat, have in self._resends.due(monotonic()):
            for (episode, who), seated in self._seated.items():
                if who == seat and (have is None or episode in have):
                    for envelope in seated.sent[have[episode] if have else 0 :]:
                        self._send(episode, seat, envelope)

    def _replied(self, envelope: Envelope) -> Rejection | None:
        seat, episode = envelope.sender, envelope.episode
        token = envelope.data.get("token", "")
        if not isinstance(token, str) or not self.lobby.knows(seat, token):
            return Reason.TOKEN, ""
        seated = self._seated.get((episode, seat))
        if seated is None:
            return Reason.EPISODE, "no such episode, or it is over"
        if envelope.n in seated.numbers:
            return Reason.REPLAYED, str(envelope.n)
        asked = seated.asked
        if asked is None or envelope.reply_to != asked.view.seq:
            return Reason.UNASKED, str(envelope.reply_to)
        if envelope.kind is Kind.END:
            self._answer(seated, UserError(envelope.body[:300]))
            return None
        if envelope.kind.value != asked.view.data["reply"]["kind"]:
            return Reason.KIND, envelope.kind.value
        try:
            version = int(self._weights.get(seat, {}).get("version", 0))
            sample, untrue = self._checks.read(seat, asked.view, envelope, version)
        except ProtocolError as error:
            return Reason.DATA, str(error)
        self.missed += max(0, envelope.n - max(seated.numbers, default=-1) - 1)
        seated.numbers.add(envelope.n)
        self._journal(episode, seat, sample)
        view = seated.sent[asked.index]
        seated.sent[asked.index] = view._replace(data={**view.data, "replied": sample.tokens})
        self._answer(seated, sample)
        return (Reason.UNTRUE, untrue) if untrue else None

    def _give_up(self, episode: str, seat: str, seated: _Seated) -> None:
        assert seated.asked is not None
        view = seated.sent[seated.asked.index]
        seated.sent[seated.asked.index] = view._replace(data={**view.data, "replied": None})
        if "deadline" in view.data:
            self._journal(episode, seat, None)
            self._answer(seated, None)
        else:
            self._answer(seated, UserError(f"no reply within {self.patience:g} s (--patience)"))

    def _answer(self, seated: _Seated, answer: Sample | BaseException | None) -> None:
        asked, seated.asked = seated.asked, None
        if asked is None or not asked.answer.set_running_or_notify_cancel():
            return
        if isinstance(answer, BaseException):
            asked.answer.set_exception(answer)
        else:
            asked.answer.set_result(answer)
