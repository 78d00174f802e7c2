"""Human-readable lines of a log: views, messages, what listeners heard if it differs, moves, rewards, score."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from protocols.envelope import REFEREE, Envelope, Kind
from protocols.log import Heard, Log

SILENCE = "(nothing)"
ACTS = {Kind.SAY: "says", Kind.MOVE: "moves", Kind.CALL: "calls", Kind.NOTE: "notes"}


class LogLine(NamedTuple):
    """One event of an episode. `seq` is its index in the log; `act` is the verb between `who` and `text`."""

    seq: int
    kind: Kind
    who: str
    act: str
    text: str
    note: str = ""


def returns(log: Log) -> dict[str, float]:
    """Return the return of each seat: its rewards, summed over the episode."""
    total = dict.fromkeys(log.seats, 0.0)
    for envelope, _ in log.entries:
        if envelope.kind is Kind.REWARD:
            for seat, paid in envelope.data.items():
                total[seat] = total.get(seat, 0.0) + float(paid)
    return total


def score(log: Log) -> float:
    """Return the score of an episode: the mean return over seats, as in `arenas.Anchors`."""
    return sum(returns(log).values()) / max(len(log.seats), 1)


def shown(log: Log, reply: Envelope) -> str:
    """Return the body of the view that a reply answers."""
    return "" if reply.reply_to is None else log.entries[reply.reply_to].envelope.body


def lines(log: Log, since: int = 0) -> Iterator[LogLine]:
    """Yield the lines of an episode, from the entry `since` on."""
    for seq, (envelope, heard) in enumerate(log.entries[since:], since):
        kind, body = envelope.kind, envelope.body
        match kind:
            case Kind.WORLD:
                if body:
                    yield LogLine(seq, kind, "hidden state", "is", body)
            case Kind.VIEW:
                yield LogLine(seq, kind, envelope.to, "is shown", body)
            case Kind.SAY | Kind.MOVE | Kind.CALL | Kind.NOTE:
                yield _reply(seq, envelope)
                yield from _differing(seq, envelope, heard)
            case Kind.RESULT:
                yield LogLine(seq, kind, envelope.sender, "answers", body or SILENCE)
            case Kind.REWARD:
                paid = ", ".join(f"{seat} {float(amount):g}" for seat, amount in envelope.data.items() if amount)
                yield LogLine(seq, kind, "paid", "", paid)
            case Kind.END:
                why = ": ".join(filter(None, ("" if body == "terminated" else body, envelope.data.get("reason"))))
                yield LogLine(seq, kind, "score", "", f"{score(log):g}", why)


def _reply(seq: int, envelope: Envelope) -> LogLine:
    data = envelope.data
    if envelope.sender == REFEREE:
        return LogLine(seq, envelope.kind, "nobody", "says", envelope.body or SILENCE)
    if data.get("missing"):
        return LogLine(seq, envelope.kind, envelope.sender, "misses the deadline", "", "the default reply counts")
    notes = [] if data.get("legal", True) else ["not a legal reply: the default one counts"]
    if price := data.get("price"):
        notes.append(f"at a price of {price:g}")
    return LogLine(seq, envelope.kind, envelope.sender, ACTS[envelope.kind], envelope.body or SILENCE, ", ".join(notes))


def _differing(seq: int, envelope: Envelope, heard: tuple[Heard, ...]) -> Iterator[LogLine]:
    """Yield a line for each listener who heard something else than was said, or later."""
    for listener, time, body, sender in heard:
        late = round(time - envelope.time, 9)
        if body is None:
            yield LogLine(seq, envelope.kind, listener, "hears nothing", "", "it was lost")
        elif body != envelope.body or late or sender:
            notes = [f"as if {sender} said it"] if sender else []
            notes += [f"{late:g} s later"] if late else []
            yield LogLine(seq, envelope.kind, listener, "hears", body or SILENCE, ", ".join(notes))
