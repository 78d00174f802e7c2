"""The desk of a host: what each seat of each episode was told and is asked, and what may come in.

It knows neither threads nor brokers: what is to be sent goes to a callback, and what came is handed in as topic and
bytes. Whatever is not in order is refused with its reason and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import monotonic, time_ns
from typing import Any, Final

from marl.episode import Sample
from marl.errors import UserError
from marl.remote import wire
from marl.remote.lobby import Lobby
from marl.remote.rejections import Reason, Refusals
from protocols import topics
from protocols.envelope import MAX_BYTES, REFEREE, Envelope, Kind
from protocols.errors import ProtocolError
from protocols.topics import LOBBY

AGAIN: Final = (0.5, 8.0)
"""Seconds until an unanswered view is sent again, and at most; half as much again each time in between."""
Journal = Callable[[str, str, Sample | None], None]
"""Called with episode, seat and reply (None: patience ran out), before the episode goes on."""
Refused = tuple[Reason, str]


@dataclass(slots=True)
class _Asked:
    """A view that waits for its reply."""

    view: Envelope
    place: int
    answer: Future[Sample | None]
    until: float
    next: float
    wait: float = AGAIN[0]


@dataclass(slots=True)
class _Seated:
    """One seat of one episode: all that it was told, and what it is asked just now."""

    told: list[Envelope] = field(default_factory=list)
    asked: _Asked | None = None
    numbers: set[int] = field(default_factory=set)
    """The counts of the envelopes that were taken from it."""


class Desk:
    """All of it runs on one thread.

    Args:
        run: the name of the run.
        host: what tells this host from others.
        lobby: who sits where.
        refusals: where what is refused is counted.
        send: takes topic and envelope.
        patience: real seconds that a seat has for a reply, with all that may go wrong on the way.
        journal: where replies are written down.
        vocabulary: how many tokens a seat's model knows, where replies are to be trained on.
    """

    def __init__(
        self,
        run: str,
        host: str,
        lobby: Lobby,
        refusals: Refusals,
        send: Callable[[str, Envelope], None],
        *,
        patience: float = 60.0,
        journal: Journal | None = None,
        vocabulary: Mapping[str, int] | None = None,
    ) -> None:
        self.run, self.host, self.lobby, self.refusals, self.patience = run, host, lobby, refusals, patience
        self.missed = 0
        """Envelopes that seats sent and that never came, by the seats' own counts."""
        self.opened = False
        """Whether this host has the run."""
        self.others: set[str] = set()
        """Other hosts that have this run."""
        self.mirrored: Callable[[], None] = lambda: None
        """Called when an envelope of this very host came back."""
        self._send_to = send
        self._journal = journal or (lambda episode, seat, sample: None)
        self._vocabulary = vocabulary or {}
        self._seated: dict[tuple[str, str], _Seated] = {}
        self._weights: dict[str, dict[str, Any]] = {}
        self._count = time_ns()  # the host's own count in the lobby; no two hosts begin with the same

    # --- what goes out

    def tell(self, seat: str, envelope: Envelope) -> None:
        """Send what a seat heard."""
        seated = self._seated.setdefault((envelope.episode, seat), _Seated())
        sent = envelope._replace(data={**envelope.data, "place": len(seated.told)})
        seated.told.append(sent)
        self._send(envelope.episode, seat, sent)

    def ask(self, seat: str, view: Envelope, answer: Future[Sample | None]) -> None:
        """Send a view; `answer` gets the reply, or None where patience ran out and the scenario has a deadline."""
        seated = self._seated.setdefault((view.episode, seat), _Seated())
        now = monotonic()
        seated.asked = _Asked(view, len(seated.told), answer, now + self.patience, now + AGAIN[0])
        self.tell(seat, view._replace(data={**view.data, "n": max(seated.numbers, default=-1) + 1}))

    def close(self, seat: str, episode: str) -> None:
        """Forget an episode of a seat, and let it know if its end has not."""
        seated = self._seated.get((episode, seat))
        if seated is None:
            return
        if not seated.told or seated.told[-1].kind is not Kind.END:
            self.tell(seat, Envelope(episode, REFEREE, 0, Kind.END, seat, body="stopped"))
        del self._seated[episode, seat]

    def remind(self) -> None:
        """Send views again that wait too long, and give up those that waited beyond patience."""
        now = monotonic()
        for (episode, seat), seated in tuple(self._seated.items()):
            asked = seated.asked
            if asked is None:
                continue
            if now >= asked.until:
                self._give_up(episode, seat, seated)
            elif now >= asked.next:
                asked.next, asked.wait = now + asked.wait, min(1.5 * asked.wait, AGAIN[1])
                self._send(episode, seat, seated.told[asked.place])

    def reconnected(self) -> None:
        """Take nobody's presence for granted, and send every view that waits again soon."""
        self.lobby.doubt()
        for seated in self._seated.values():
            if seated.asked is not None:
                seated.asked.next = 0.0

    def fail(self, error: BaseException) -> None:
        """Let everyone know who waits for a reply that there will be none."""
        for seated in self._seated.values():
            if seated.asked is not None:
                self._answer(seated, error)

    def renew(self, seat: str, weights: dict[str, Any]) -> None:
        """Tell a seat where its new weights are; also whoever takes it later."""
        self._weights[seat] = weights
        self._welcome(seat)

    def notice(self, kind: Kind, **data: Any) -> Envelope:
        """Return an envelope by which the host speaks of itself in the lobby."""
        self._count += 1
        return Envelope(LOBBY, REFEREE, self._count, kind, data={"host": self.host, **data})

    def _welcome(self, seat: str) -> None:
        claim = self.lobby.claims[seat]
        data: dict[str, Any] = {"agent": "" if claim is None else claim.agent}
        if seat in self._weights:
            data["weights"] = self._weights[seat]
        self._send(LOBBY, seat, self.notice(Kind.JOIN, **data)._replace(to=seat))

    def _send(self, episode: str, seat: str, envelope: Envelope) -> None:
        self._send_to(topics.to(self.run, episode, seat), envelope)

    # --- what comes in

    def arrived(self, topic: str, raw: bytes) -> None:
        """Look at what came under a topic of this run."""
        try:
            where = topics.parse(topic)
        except ProtocolError as error:
            return self.refusals.add(Reason.TOPIC, topic, raw, str(error))
        try:
            envelope = Envelope.from_json(raw)
        except ProtocolError as error:
            reason = Reason.OVERSIZE if len(raw) > MAX_BYTES else Reason.MALFORMED
            return self.refusals.add(reason, topic, raw, str(error))
        if envelope.sender != where.agent:
            return self.refusals.add(Reason.SENDER, topic, raw, f"{envelope.sender} on the topic of {where.agent}")
        if envelope.episode != where.episode:
            return self.refusals.add(Reason.EPISODE, topic, raw, f"{envelope.episode} on the topic of {where.episode}")
        if where.agent == REFEREE and where.episode == LOBBY:
            if self._mirrored(envelope):
                return None
            return self.refusals.add(Reason.SENDER, topic, raw, "another host")
        if where.agent not in self.lobby.claims:
            if where.episode == LOBBY and envelope.kind is Kind.LEAVE:
                return None  # an earlier run of this name had such a seat
            return self.refusals.add(Reason.SEAT, topic, raw, where.agent)
        refused = self._presence(envelope) if where.episode == LOBBY else self._replied(envelope)
        if refused is not None:
            self.refusals.add(refused[0], topic, raw, refused[1])
        return None

    def _mirrored(self, envelope: Envelope) -> bool:
        """See what a host says of itself: this one, or, before this one has the run, another that has it."""
        if envelope.data.get("host") == self.host:
            self.mirrored()
        elif self.opened:
            return False
        elif envelope.kind is Kind.JOIN:
            self.others.add(str(envelope.data.get("host")))
        else:
            self.others.clear()
        return True

    def _presence(self, envelope: Envelope) -> Refused | None:
        seat = envelope.sender
        try:
            data = wire.join(envelope)
        except ProtocolError as error:
            return Reason.DATA, str(error)
        if envelope.kind is Kind.LEAVE:
            if not self.lobby.knows(seat, data.token):
                return Reason.TOKEN, ""
            self.lobby.leave(data.agent)
            return None
        if envelope.kind is not Kind.JOIN:
            return Reason.KIND, envelope.kind.value
        if (refused := self.lobby.join(seat, data, proven=self.opened)) is not None:
            answer = self.notice(Kind.LEAVE, agent=data.agent)._replace(to=seat, body=refused[1])
            self._send(LOBBY, seat, answer)
            return refused
        if data.have is None:
            self._welcome(seat)
        for (episode, who), seated in self._seated.items():
            if who == seat and (data.have is None or episode in data.have):
                first = 0 if data.have is None else data.have[episode]
                for told in seated.told[first:]:
                    self._send(episode, seat, told)
        return None

    def _replied(self, envelope: Envelope) -> Refused | None:
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
            sample = wire.reply(envelope, self._vocabulary.get(seat))
        except ProtocolError as error:
            return Reason.DATA, str(error)
        self.missed += max(0, envelope.n - max(seated.numbers, default=-1) - 1)
        seated.numbers.add(envelope.n)
        self._journal(episode, seat, sample)
        view = seated.told[asked.place]
        seated.told[asked.place] = view._replace(data={**view.data, "replied": sample.tokens})
        self._answer(seated, sample)
        return None

    def _give_up(self, episode: str, seat: str, seated: _Seated) -> None:
        assert seated.asked is not None
        view = seated.told[seated.asked.place]
        seated.told[seated.asked.place] = view._replace(data={**view.data, "replied": None})
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
