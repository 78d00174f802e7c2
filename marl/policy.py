"""Who answers: the Policy protocol, and the policies that need no model."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from arenas import scripted
from arenas.spec import ReplySpec, Words
from marl.episode import Sample
from marl.errors import UserError
from marl.transcript import Transcript
from protocols.draws import below, uniform
from protocols.envelope import Envelope, Kind


class Policy(Protocol):
    """Anything that can take a seat."""

    name: str

    def open(self) -> Transcript:
        """Return an empty transcript of the kind this policy reads."""

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        """Answer, appending the sampled tokens (if any) to the transcript.

        `seed` has this decision's coordinates; `greedy` asks for the most probable reply.
        """

    def close(self, transcript: Transcript) -> None:
        """Release what the policy keeps for a transcript."""


class Asked(Protocol):
    """A question on its way to a reply."""

    def cancel(self) -> object:
        """Want no reply any more; nothing happens if it was given."""


Answered = Callable[[Sample | Exception], None]


class Batched(ABC):
    """A policy that takes questions, and answers by a call: many of them at once, without a task for each."""

    @abstractmethod
    def ask(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool, done: Answered) -> Asked:
        """Take a question as `reply` does; `done` gets the sample, whose tokens then stand in the transcript."""

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        """Wait for the answer."""
        future: asyncio.Future[Sample] = asyncio.get_running_loop().create_future()

        def done(found: Sample | Exception) -> None:
            if isinstance(found, Exception):
                future.set_exception(found)
            else:
                future.set_result(found)

        asked = self.ask(transcript, spec=spec, seed=seed, greedy=greedy, done=done)
        try:
            return await future
        finally:
            asked.cancel()


class TextPolicy:
    """A policy that reads envelopes, not tokens."""

    name = "text"

    def open(self) -> Transcript:
        """Return a transcript without ids."""
        return Transcript()

    def close(self, transcript: Transcript) -> None:
        """Keep nothing."""


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


class Script(TextPolicy):
    """A script of an arena: it knows what its seat was shown, heard and replied, and gives a reply or its chances."""

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


class Human(TextPolicy):
    """A person: `ask` shows the newly heard envelopes and returns the line typed."""

    name = "human"

    def __init__(self, ask: Callable[[Sequence[Envelope], ReplySpec], str]) -> None:
        self._ask = ask
        self._shown: dict[int, int] = {}

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        """Ask until the line fits the spec."""
        new = transcript.heard[self._shown.get(id(transcript), 0) :]
        self._shown[id(transcript)] = len(transcript.heard)
        while True:
            line = self._ask(new, spec)  # the episode waits for the person
            if spec.parse(line) is not None:
                return Sample(line)
            new = []

    def close(self, transcript: Transcript) -> None:
        """Forget what was shown."""
        self._shown.pop(id(transcript), None)


class Recorded:
    """Replays the replies of one seat of a log (None: it missed the deadline); then the live policy goes on."""

    def __init__(self, samples: Sequence[Sample | None], live: Policy, name: str) -> None:
        self.samples = samples
        self.live = live
        self.name = name
        self._next = 0

    def open(self) -> Transcript:
        """Return the live policy's kind of transcript."""
        return self.live.open()

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        """Give the recorded reply, or ask the live policy."""
        if self._next == len(self.samples):
            return await self.live.reply(transcript, spec=spec, seed=seed, greedy=greedy)
        sample = self.samples[self._next]
        self._next += 1
        if sample is None:
            await asyncio.get_running_loop().create_future()  # for ever: the referee's deadline ends the wait
            raise AssertionError
        transcript.replied(sample.tokens)
        transcript.answered(sample.text)
        return sample

    def close(self, transcript: Transcript) -> None:
        """Close the live policy's transcript."""
        self.live.close(transcript)


class _Over(TextPolicy):
    """Stands in where a replay should never need a live policy."""

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        """Say that the recording was too short."""
        raise LookupError("the recorded replies ended before the episode did: the log is incomplete or was changed")


OVER: Final = _Over()
Seats = Mapping[str, Policy]
