"""Replay a log, and fork it: repeat recorded replies up to a point, then play on with live policies.

This needs no snapshots: the arena is dealt from the episode's own key, and recorded replies are fed back.
"""

from __future__ import annotations

from collections.abc import Sequence

from arenas.spec import PUBLIC, from_wire
from marl.episode import Sample
from marl.intervention.base import Intervention
from marl.intervention.config import parse
from marl.policy.base import Policy, Seats
from marl.policy.recorded import NoPolicy, Recorded
from marl.rollout.plan import Plan
from protocols.envelope import EVERYONE, NOBODY, Envelope, Kind
from protocols.log import REPLIES, Log


def _original_text(log: Log, reply: Envelope) -> str:
    """Return a reply as the policy wrote it: where its channel was a choice, its first word names that channel."""
    if reply.kind is Kind.SAY and reply.to != NOBODY and reply.reply_to is not None:
        spec = from_wire(log.entries[reply.reply_to].envelope.data["reply"])
        if len(spec.channels) > 1:
            return spec.text(PUBLIC if reply.to == EVERYONE else reply.to, reply.body)
    return reply.body


def _recorded(log: Log, seat: str, before: int, live: Policy) -> Recorded:
    """Return a policy that repeats a seat's replies up to an entry, then hands over to the live policy.

    A later reply is repeated too if its view stands before the view of that entry: it was being formed at the time.
    """
    at = log.entries[before].envelope if before < len(log.entries) else None
    asked = at.reply_to if at is not None and at.kind in REPLIES and at.reply_to is not None else 0
    replies = [e for e in log.replies(seat) if e.seq < before or (e.reply_to or before) < asked]
    samples = [
        None if reply.data.get("missing") else Sample.from_data(_original_text(log, reply), reply.data)
        for reply in replies
    ]
    return Recorded(samples, live, log.seats[seat])


def replay(
    log: Log, live: Seats | None = None, *, upto: int | None = None, do: Sequence[Intervention] = (), salt: int = 0
) -> Plan:
    """Plan to play a logged episode again: recorded replies before entry `upto` (default: all), live seats after it.

    The interventions of the log apply again, then those of `do`. Another `salt` changes the draws of the live part.
    Raises ProtocolError for a log whose interventions cannot be repeated.
    """
    seats = {
        seat: _recorded(log, seat, len(log.entries) if upto is None else upto, (live or {}).get(seat, NoPolicy()))
        for seat in log.seats
    }
    answers = {
        envelope.reply_to: envelope.body
        for envelope, _ in log.entries[:upto]
        if envelope.kind is Kind.RESULT and envelope.reply_to is not None
    }
    return Plan(log.episode, seats, log.seed, log.deal, log.greedy, (*parse(log), *do), salt, answers)


def fork(log: Log, at: int, live: Seats, *, do: Sequence[Intervention] | Intervention = (), salt: int = 0) -> Plan:
    """Fork a logged episode: plan another future from entry `at` on.

    Without `do` the reply at `at` is sampled again: the same one with the same salt and weights. With `do` the reply
    is kept, and its listeners hear something else; an intervention without `seq` applies to messages from `at` on.
    Raises UserError for an intervention on an entry that is not a message, or that stands before `at`.
    """
    interventions = (do,) if isinstance(do, Intervention) else do
    do = tuple(intervention.for_fork(log, at) for intervention in interventions)
    return replay(log, live, upto=at + 1 if do else at, do=do, salt=salt)
