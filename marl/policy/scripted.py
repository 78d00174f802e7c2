"""Policies without a model: random replies, scripted replies, the scripts of an arena."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from arenas import scripted
from arenas.spec import ReplySpec, Words
from marl.context.transcript import Transcript
from marl.episode import Sample
from marl.errors import UserError
from marl.policy.base import TextPolicy
from protocols.draws import below, uniform
from protocols.envelope import Envelope, Kind


class Random(TextPolicy):
    """Every legal reply is equally likely."""

    name = "random"

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        """Draw a reply."""
        return Sample(" ".join(spec.words(below(spec.size, seed))))


class Scripted(TextPolicy):
    """A function from what was heard, and the spec, to a reply."""

    def __init__(self, script: Callable[[Sequence[Envelope], ReplySpec], str], name: str = "scripted") -> None:
        self.script = script
        self.name = name

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        """Call the script."""
        return Sample(self.script(transcript.heard, spec))


class ArenaScriptPolicy(TextPolicy):
    """Plays a script of an arena (see `arenas.scripted`)."""

    def __init__(self, script: scripted.Script, name: str) -> None:
        self.script = script
        self.name = name

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        """Draw from the script's chances; greedy takes the likeliest. Raises UserError for a script that gives up."""
        if asked(transcript).data.get("aside"):  # arenas, and so their scripts, know nothing of tools
            return Sample(" ".join(spec.default))
        memory = remember(transcript, spec)
        try:
            given = scripted.chances(self.script, memory)
        except Exception as error:  # noise may have changed words that it counts on
            raise UserError(f"{self.name} of {memory.agent} does not know what to reply: {error!r}") from error
        words = max(given, key=lambda reply: given[reply]) if greedy else _drawn(given, uniform(seed))
        text = " ".join(words)
        transcript.answered(text)
        return Sample(text)


def asked(transcript: Transcript) -> Envelope:
    """Return the newest view."""
    views: list[Envelope] = [envelope for envelope in transcript.heard if envelope.kind is Kind.VIEW]
    return views[-1]


def remember(transcript: Transcript, spec: ReplySpec) -> scripted.Memory:
    """Return what a seat knows that is being asked, from what it heard and noted of its own replies to the arena."""
    seat = asked(transcript).to
    answers = iter(transcript.answers)
    seen: list[tuple[str, Words]] = []
    place, answer = next(answers, (-1, ""))
    for number, envelope in enumerate(transcript.heard, 1):
        if envelope.kind in (Kind.VIEW, Kind.SAY, Kind.RESULT) and "again" not in envelope.data:
            who = scripted.ARENA if envelope.kind is Kind.VIEW else envelope.sender
            seen.append((who, tuple(envelope.body.split())))
        if number == place:
            if "aside" not in envelope.data:
                seen.append((seat, tuple(answer.split())))
            place, answer = next(answers, (-1, ""))
    return scripted.Memory(seat, spec, tuple(seen))


def _drawn(given: Mapping[Words, float], draw: float) -> Words:
    """Return the reply in whose part of [0, 1) a uniform draw falls."""
    for words, chance in given.items():
        draw -= chance
        if draw < 0:
            return words
    return next(reversed([words for words, chance in given.items() if chance]))  # chances that sum to a hair below 1
