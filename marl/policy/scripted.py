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
    """Replies uniformly at random among the legal replies."""

    name = "random"

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        """Draw a reply."""
        return Sample(" ".join(spec.words(below(spec.size, seed))))


class Scripted(TextPolicy):
    """Replies by a function of the envelopes heard and the reply spec."""

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
        """Draw a reply of the script, or take the likeliest if greedy; raises UserError if the script fails."""
        if newest_view(transcript).data.get("aside"):  # scripts of arenas know no tools
            return Sample(" ".join(spec.default))
        memory = remember(transcript, spec)
        try:
            probabilities = scripted.chances(self.script, memory)
        except Exception as error:  # the script may expect words that noise has changed
            raise UserError(f"{self.name} of {memory.agent} does not know what to reply: {error!r}") from error
        if greedy:
            words = max(probabilities, key=lambda reply: probabilities[reply])
        else:
            words = _draw(probabilities, uniform(seed))
        text = " ".join(words)
        transcript.answered(text)
        return Sample(text)


def newest_view(transcript: Transcript) -> Envelope:
    """Return the newest view, which asks for the reply."""
    views: list[Envelope] = [envelope for envelope in transcript.heard if envelope.kind is Kind.VIEW]
    return views[-1]


def remember(transcript: Transcript, spec: ReplySpec) -> scripted.Memory:
    """Return the memory of the agent that is asked, from what it heard and its own replies to the arena."""
    agent = newest_view(transcript).to
    answers = iter(transcript.answers)
    seen: list[tuple[str, Words]] = []
    position, answer = next(answers, (-1, ""))
    for number, envelope in enumerate(transcript.heard, 1):
        if envelope.kind in (Kind.VIEW, Kind.SAY, Kind.RESULT) and "again" not in envelope.data:
            who = scripted.ARENA if envelope.kind is Kind.VIEW else envelope.sender
            seen.append((who, tuple(envelope.body.split())))
        if number == position:
            if "aside" not in envelope.data:
                seen.append((agent, tuple(answer.split())))
            position, answer = next(answers, (-1, ""))
    return scripted.Memory(agent, spec, tuple(seen))


def _draw(probabilities: Mapping[Words, float], draw: float) -> Words:
    """Return the reply whose interval of [0, 1) contains a uniform draw."""
    for words, probability in probabilities.items():
        draw -= probability
        if draw < 0:
            return words
    return [words for words, probability in probabilities.items() if probability][-1]  # they sum to just below 1
