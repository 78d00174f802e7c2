"""Replay a log, and fork it: play on from a point with live policies."""

from __future__ import annotations

from collections.abc import Sequence

from arenas.spec import PUBLIC, from_wire
from marl.episode import Sample
from marl.intervention.base import Intervention
from marl.intervention.config import parse
from marl.policy.base import Policy, Seats
from marl.policy.recorded import NoPolicy, Recorded
from marl.rollout.plan import Plan
from protocols.envelope import EVERYONE, NO_DATA, NOBODY, Envelope, Kind
from protocols.log import REPLIES, Log


def _text(log: Log, reply: Envelope) -> str:
    """Return a reply as it was given: where its channel was a choice, its first word was that channel."""
    if reply.kind is Kind.SAY and reply.to != NOBODY and reply.reply_to is not None:
        spec = from_wire(log.entries[reply.reply_to].envelope.data["reply"])
        if len(spec.channels) > 1:
            return spec.text(PUBLIC if reply.to == EVERYONE else reply.to, reply.body)
    return reply.body


def _recorded(log: Log, seat: str, before: int, live: Policy) -> Recorded:
    """Seat the replies given before an entry, and those then being formed: they were asked for before its own."""
    at = log.entries[before].envelope if before < len(log.entries) else None
    asked = at.reply_to if at is not None and at.kind in REPLIES and at.reply_to is not None else 0
    replies = [e for e in log.replies(seat) if e.seq < before or (e.reply_to or before) < asked]
    samples = [
        None
        if reply.data.get("missing")
        else Sample(
            _text(log, reply),
            tuple(reply.data.get("tokens", ())),
            version=reply.data.get("version", 0),
            usage=reply.data.get("usage", NO_DATA),
        )
        for reply in replies
    ]
    return Recorded(samples, live, log.seats[seat])


def replay(
    log: Log, live: Seats | None = None, *, upto: int | None = None, do: Sequence[Intervention] = (), salt: int = 0
) -> Plan:
    """Plan to play a logged episode again: recorded replies before entry `upto` (default: all), live seats after it.

    The interventions of the log act again, and after them those of `do`. With another `salt`, the live part draws other
    numbers. Raises ProtocolError for a log whose interventions cannot be repeated.
    """
    seats = {
        seat: _recorded(log, seat, len(log.entries) if upto is None else upto, (live or {}).get(seat, NoPolicy()))
        for seat in log.seats
    }
    answers = {
        each.reply_to: each.body
        for each, _ in log.entries[:upto]
        if each.kind is Kind.RESULT and each.reply_to is not None
    }
    return Plan(log.episode, seats, log.seed, log.deal, log.greedy, (*parse(log), *do), salt, answers)


def fork(log: Log, at: int, live: Seats, *, do: Sequence[Intervention] | Intervention = (), salt: int = 0) -> Plan:
    """Plan another future of a logged episode from entry `at` on.

    Without `do` the reply at `at` is drawn anew: the same one with the same salt and weights. With `do` the reply
    stands, and what its listeners hear changes; an intervention that names no entry is for messages from `at` on.
    Raises UserError for an intervention on what is no message of the log, or stands before `at`.
    """
    do = tuple(each.for_fork(log, at) for each in ((do,) if isinstance(do, Intervention) else do))
    return replay(log, live, upto=at + 1 if do else at, do=do, salt=salt)
