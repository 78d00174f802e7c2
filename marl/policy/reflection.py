"""Reflexion and self-critique: verbal learning without gradients, as wrappers around any policy that chats.

`Reflexion` (Shinn et al. 2023) writes a lesson after each episode and reads the lessons in the next ones;
`SelfCritique` criticises its own draft before it replies. Both talk with the inner policy in a private conversation,
which stands in no log and is not trained on.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from typing_extensions import override

from arenas.spec import ReplySpec
from marl.context.transcript import Transcript
from marl.episode import Episode, Sample
from marl.errors import UserError
from marl.policy.base import Policy, TextPolicy
from marl.policy.scripted import newest_view
from protocols.draws import key
from protocols.envelope import REFEREE, Envelope, Kind

PROSE: Final = ReplySpec((("ok",),), free=600)
"""Reply spec of a lesson or a critique: one line of text."""
LESSON: Final = (
    "The episode is over, and you were paid {paid:g}. Write one short lesson for the next episode: what to do again, "
    "and what to do otherwise."
)
DRAFTED: Final = "Before this counts, criticise it in one sentence: is it legal, true, and the best you can reply?"
AGAIN: Final = "Now give your final reply, the same one or a better one, in the form that was asked for."


def conversation(inner: Policy, heard: Iterable[Envelope], answers: Iterable[tuple[int, str]]) -> Transcript:
    """Return a transcript of the inner policy with everything heard and replied so far."""
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
    """Ask the inner policy a question of the wrapper; question and answer stay in its transcript."""
    last = newest_view(transcript)
    view = Envelope(last.episode, REFEREE, 0, Kind.VIEW, last.to, body=text, data={"reply": spec.wire})
    transcript.hear(view)
    transcript.ask()
    return await inner.reply(transcript, spec=spec, seed=seed, greedy=greedy)


class SelfCritique(TextPolicy):
    """Drafts a reply, criticises it, and replies. A legal draft counts where the final reply is not legal."""

    def __init__(self, inner: Policy) -> None:
        self.inner = inner
        self.name = f"critique:{inner.name}"

    @override
    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        inner = self.inner
        own = conversation(inner, transcript.heard, transcript.answers)
        try:
            own.ask()
            draft = await inner.reply(own, spec=spec, seed=key(seed, "draft"), greedy=greedy)
            text = f"You want to reply: {draft.text or '(nothing)'}\n{DRAFTED}"
            critique = await question(inner, own, text, PROSE, key(seed, "critique"), greedy)
            final = await question(inner, own, AGAIN, spec, key(seed, "final"), greedy)
        finally:
            inner.close(own)
        text = final.text
        if spec.parse(text) is None and spec.parse(draft.text) is not None:
            text = draft.text
        transcript.answered(text)
        return Sample(text, usage=total([draft, critique, final]))


class Reflexion(TextPolicy):
    """Reads its lessons in every episode. The caller passes each finished episode to `learn`.

    Play episodes one after the other: the lesson on an episode is written when the next one begins, or by `reflect`.

    Args:
        inner: the policy that replies and writes the lessons.
        folder: keeps the lessons of a seat in `SEAT.txt`, one a line; lessons already there are read too.
        most: how many of the newest lessons are read.
    """

    def __init__(self, inner: Policy, folder: Path | None = None, most: int = 3) -> None:
        self.inner = inner
        self.name = f"reflexion:{inner.name}"
        self.most = most
        self._folder = folder
        self._lessons: dict[str, list[str]] = {}
        self._unread: list[tuple[str, Episode]] = []

    def lessons(self, seat: str) -> list[str]:
        """Return the lessons of a seat, oldest first; raises UserError for a file that cannot be read."""
        if seat not in self._lessons:
            self._lessons[seat] = _read(self._folder / f"{seat}.txt") if self._folder else []
        return self._lessons[seat]

    def learn(self, seat: str, episode: Episode) -> None:
        """Queue an episode in which this policy played a seat, for its lesson."""
        self._unread.append((seat, episode))

    async def reflect(self) -> None:
        """Write the lessons on the queued episodes; raises UserError where a lesson cannot be saved."""
        while self._unread:
            seat, episode = self._unread.pop(0)
            view = episode.log.view(seat)
            heard = [envelope for envelope in view if envelope.sender != seat and envelope.kind is not Kind.END]
            if not any(envelope.kind is Kind.VIEW for envelope in heard):
                continue  # the seat was never asked
            own = conversation(self.inner, self._with_lessons(seat, heard), _answers(view, seat, self._shift(seat)))
            paid = dict(zip(episode.agents, episode.returns, strict=True))[seat]
            seed = key(episode.log.seed, episode.log.episode, seat, "lesson")
            try:
                sample = await question(self.inner, own, LESSON.format(paid=paid), PROSE, seed, episode.log.greedy)
            finally:
                self.inner.close(own)
            if lesson := " ".join(sample.text.split()):
                self.lessons(seat).append(lesson)
                self._save(seat, lesson)

    @override
    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        await self.reflect()
        seat = newest_view(transcript).to
        shift = self._shift(seat)
        answers = [(index + shift, text) for index, text in transcript.answers]
        own = conversation(self.inner, self._with_lessons(seat, transcript.heard), answers)
        try:
            own.ask()
            sample = await self.inner.reply(own, spec=spec, seed=seed, greedy=greedy)
        finally:
            self.inner.close(own)
        transcript.answered(sample.text)
        return Sample(sample.text, usage=sample.usage)

    def _shift(self, seat: str) -> int:
        """Return by how many envelopes the lessons shift what the inner policy hears."""
        return int(bool(self.lessons(seat)))

    def _with_lessons(self, seat: str, heard: Iterable[Envelope]) -> list[Envelope]:
        """Return the newest lessons as one envelope, and then what was heard."""
        heard = list(heard)
        lines = self.lessons(seat)[-self.most :]
        if not lines:
            return heard
        body = " / ".join(lines)
        return [Envelope(heard[0].episode, "lessons", 0, Kind.SAY, body=body), *heard]

    def _save(self, seat: str, lesson: str) -> None:
        if self._folder is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / f"{seat}.txt").open("a", encoding="utf-8") as file:
                file.write(lesson + "\n")
        except OSError as error:
            raise UserError(f"{self._folder}: lessons cannot be saved there ({error.strerror or error})") from None


def _answers(view: Iterable[Envelope], seat: str, shift: int) -> list[tuple[int, str]]:
    """Return the replies of a seat in its view of a log, each after the number of envelopes heard before it."""
    answers, heard = [], shift
    for envelope in view:
        if envelope.sender == seat:
            answers.append((heard, envelope.body))
        else:
            heard += 1
    return answers


def _read(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: lessons cannot be read ({error})") from None


def total(samples: Iterable[Sample]) -> dict[str, float]:
    """Return the summed usage of several replies."""
    used: dict[str, float] = {}
    for sample in samples:
        for name, amount in sample.usage.items():
            used[name] = used.get(name, 0) + amount
    return used
