"""Learning in words, without gradients: wrappers around any policy that chats.

`Reflexion` (Shinn et al. 2023) writes a lesson after each episode and reads the lessons in the next ones;
`SelfCritique` criticises its own draft before it replies. What they do is ordinary talk with the policy inside, in a
conversation that nobody else hears, and nothing of it is trained on.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from arenas.spec import ReplySpec
from marl.context.transcript import Transcript
from marl.episode import Episode, Sample
from marl.errors import UserError
from marl.policy.base import Policy, TextPolicy
from marl.policy.scripted import asked
from protocols.draws import key
from protocols.envelope import REFEREE, Envelope, Kind

PROSE: Final = ReplySpec((("ok",),), free=600)
"""A line of text."""
LESSON: Final = (
    "The episode is over, and you were paid {paid:g}. Write one short lesson for the next episode: what to do again, "
    "and what to do otherwise."
)
DRAFTED: Final = "Before this counts, criticise it in one sentence: is it legal, true, and the best you can reply?"
AGAIN: Final = "Now give your final reply, the same one or a better one, in the form that was asked for."


def conversation(inner: Policy, heard: Iterable[Envelope], answers: Iterable[tuple[int, str]]) -> Transcript:
    """Return a transcript of the policy inside, with all that was heard and replied so far."""
    transcript = inner.open()
    replies = dict(answers)
    for number, envelope in enumerate(heard, 1):
        transcript.hear(envelope)
        if number in replies:
            transcript.ask()
            transcript.answered(replies[number])
    return transcript


async def question(
    inner: Policy, transcript: Transcript, text: str, spec: ReplySpec, seed: int, greedy: bool
) -> Sample:
    """Ask the policy inside something of our own; it stands in its transcript."""
    last = asked(transcript)
    view = Envelope(last.episode, REFEREE, 0, Kind.VIEW, last.to, body=text, data={"reply": spec.wire})
    transcript.hear(view)
    transcript.ask()
    return await inner.reply(transcript, spec=spec, seed=seed, greedy=greedy)


class SelfCritique(TextPolicy):
    """Drafts a reply, criticises it, and replies. A final reply that is not legal gives way to a draft that is."""

    def __init__(self, inner: Policy) -> None:
        self.inner = inner
        self.name = f"critique:{inner.name}"

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        """Ask the policy inside three times."""
        inner = self.inner
        own = conversation(inner, transcript.heard, transcript.answers)
        try:
            own.ask()
            draft = await inner.reply(own, spec=spec, seed=key(seed, "draft"), greedy=greedy)
            told = f"You want to reply: {draft.text or '(nothing)'}\n{DRAFTED}"
            critique = await question(inner, own, told, PROSE, key(seed, "critique"), greedy)
            final = await question(inner, own, AGAIN, spec, key(seed, "final"), greedy)
        finally:
            inner.close(own)
        text = final.text
        if spec.parse(text) is None and spec.parse(draft.text) is not None:
            text = draft.text
        transcript.answered(text)
        return Sample(text, usage=total([draft, critique, final]))


class Reflexion(TextPolicy):
    """Reads its lessons in every episode. Whoever plays tells it how an episode went, with `learn`.

    Episodes must be played one after the other, or there is nothing to have learned. The lesson on an episode is
    written when the next one begins, or by `reflect`.

    Args:
        inner: who replies, and writes the lessons.
        folder: where the lessons are kept, one a line, in `SEAT.txt`; what stands there already is read too.
        most: the newest so many lessons are read.
    """

    def __init__(self, inner: Policy, folder: Path | None = None, most: int = 3) -> None:
        self.inner = inner
        self.name = f"reflexion:{inner.name}"
        self.most = most
        self._folder = folder
        self._lessons: dict[str, list[str]] = {}
        self._over: list[tuple[str, Episode]] = []

    def lessons(self, seat: str) -> list[str]:
        """Return the lessons of a seat, oldest first; raises UserError for a file that cannot be read."""
        if seat not in self._lessons:
            self._lessons[seat] = _read(self._folder / f"{seat}.txt") if self._folder else []
        return self._lessons[seat]

    def learn(self, seat: str, episode: Episode) -> None:
        """Take note of an episode in which this sat on a seat."""
        self._over.append((seat, episode))

    async def reflect(self) -> None:
        """Write the lessons on the episodes that are over; raises UserError where they cannot be kept."""
        while self._over:
            seat, episode = self._over.pop(0)
            view = episode.log.view(seat)
            heard = [each for each in view if each.sender != seat and each.kind is not Kind.END]
            if not any(each.kind is Kind.VIEW for each in heard):
                continue  # it was never asked
            own = conversation(self.inner, self._with_lessons(seat, heard), _answers(view, seat, self._told(seat)))
            paid = dict(zip(episode.agents, episode.returns, strict=True))[seat]
            seed = key(episode.log.seed, episode.log.episode, seat, "lesson")
            try:
                sample = await question(self.inner, own, LESSON.format(paid=paid), PROSE, seed, episode.log.greedy)
            finally:
                self.inner.close(own)
            if lesson := " ".join(sample.text.split()):
                self.lessons(seat).append(lesson)
                self._keep(seat, lesson)

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        """Write the lessons that are due, and reply with all of them in mind."""
        await self.reflect()
        seat = asked(transcript).to
        shift = self._told(seat)
        answers = [(place + shift, text) for place, text in transcript.answers]
        own = conversation(self.inner, self._with_lessons(seat, transcript.heard), answers)
        try:
            own.ask()
            sample = await self.inner.reply(own, spec=spec, seed=seed, greedy=greedy)
        finally:
            self.inner.close(own)
        transcript.answered(sample.text)
        return Sample(sample.text, usage=sample.usage)

    def _told(self, seat: str) -> int:
        return int(bool(self.lessons(seat)))

    def _with_lessons(self, seat: str, heard: Iterable[Envelope]) -> list[Envelope]:
        """Return what was heard, after the newest lessons."""
        heard = list(heard)
        lines = self.lessons(seat)[-self.most :]
        if not lines:
            return heard
        body = " / ".join(lines)
        return [Envelope(heard[0].episode, "lessons", 0, Kind.SAY, body=body), *heard]

    def _keep(self, seat: str, lesson: str) -> None:
        if self._folder is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / f"{seat}.txt").open("a", encoding="utf-8") as file:
                file.write(lesson + "\n")
        except OSError as error:
            raise UserError(f"{self._folder}: lessons cannot be kept there ({error.strerror or error})") from None


def _answers(view: Iterable[Envelope], seat: str, shift: int) -> list[tuple[int, str]]:
    """Return a seat's own replies in its view of a log, each with how many envelopes it had heard before."""
    found, heard = [], shift
    for each in view:
        if each.sender == seat:
            found.append((heard, each.body))
        else:
            heard += 1
    return found


def _read(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: lessons cannot be read ({error})") from None


def total(samples: Iterable[Sample]) -> dict[str, float]:
    """Add up what several replies used."""
    used: dict[str, float] = {}
    for sample in samples:
        for name, amount in sample.usage.items():
            used[name] = used.get(name, 0) + amount
    return used
