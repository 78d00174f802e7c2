"""PolicyServer: answers everything that waits, over all episodes and agents, as one batch.

Questions gather while tasks run. When the loop is idle, that is when every task waits for something, they are all
answered together: batches are as large as they can be and no time window is guessed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from arenas.spec import ReplySpec
from marl.context.transcript import Transcript
from marl.episode import Sample
from marl.inference.engine import Engine
from marl.inference.sampler import Request, generate
from marl.models.chat_model import ChatModel
from marl.models.language_model import LanguageModel
from marl.policy.base import Answered, BatchedPolicy, PendingReply
from protocols.clock import EpisodeLoop, episode_loop


@dataclass(slots=True, kw_only=True)
class Question(Request):
    """A request, and who is told of the reply while it is wanted."""

    done: Answered
    wanted: bool = True

    def cancel(self) -> None:
        """Want no reply any more."""
        self.wanted = False


class PolicyServer(BatchedPolicy):
    """The policy of any number of seats that share one model. `version` counts the updates of its weights."""

    def __init__(self, lm: LanguageModel, name: str, max_batch: int = 1024) -> None:
        self.lm = lm
        self.name = name
        self.max_batch = max_batch
        self.version = 0
        self.sampled = 0
        """Tokens sampled so far."""
        self.batches = 0
        self._waiting: list[Question] = []
        self._loop: EpisodeLoop | None = None

    def open(self) -> Transcript:
        """Return a transcript in this model's tokens."""
        return self.lm.open()

    def ask(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool, done: Answered) -> PendingReply:
        """Put a question into the next batch."""
        if asyncio.get_running_loop() is not self._loop:
            self._loop = episode_loop()
            self._waiting = []
            self._loop.on_idle(self._answer)
        question = Question(transcript, spec, seed, greedy, done=done)
        self._waiting.append(question)
        return question

    def close(self, transcript: Transcript) -> None:
        """Give up the transcript's row of the cache."""
        transcript.cache = None
        transcript.cached = 0

    def publish(self, version: int) -> None:
        """Announce that the weights have changed; caches of older versions are not used any more."""
        self.version = version
        self.lm.trim()

    def _answer(self) -> bool:
        """Sample all that waits, at most `max_batch` rows at a time; say whether anything did."""
        waiting = [question for question in self._waiting if question.wanted]
        self._waiting = []
        for first in range(0, len(waiting), self.max_batch):
            batch = waiting[first : first + self.max_batch]
            self.lm.eval()
            samples = generate(self.lm, batch, self.version)
            self.batches += 1
            self.sampled += sum(len(sample.tokens) for sample in samples)
            for question, sample in zip(batch, samples, strict=True):
                question.done(sample)
        return bool(waiting)


class ChatServer(PolicyServer):
    """The policy of seats that a chat model plays. All policies on one base share its engine, and so their batches."""

    lm: ChatModel

    def __init__(self, lm: ChatModel, name: str) -> None:
        super().__init__(lm, name)
        settings = lm.settings
        if lm.base.engine is None:
            lm.base.engine = Engine(lm.base, settings.rows, int(settings.cache * (1 << 30)))
        self.engine: Engine = lm.base.engine

    def ask(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool, done: Answered) -> PendingReply:
        """Queue a question; the answer is ContextFullError where the transcript leaves no room for a reply."""
        self.engine.attend(episode_loop())
        question = Question(transcript, spec, seed, greedy, done=done)

        def answered(found: Sample | Exception) -> None:
            if question.wanted:
                if isinstance(found, Sample):
                    self.sampled += len(found.tokens)
                done(found)

        self.engine.ask(self.lm, transcript, spec, seed, greedy, self.version, answered)
        return question

    def close(self, transcript: Transcript) -> None:
        """Give up what is kept of the transcript."""
        self.engine.forget(transcript)

    def publish(self, version: int) -> None:
        """Announce that the weights have changed."""
        super().publish(version)
        self.lm.base.touch()


def serve(lm: LanguageModel, name: str) -> PolicyServer:
    """Return the server for a model."""
    return ChatServer(lm, name) if isinstance(lm, ChatModel) else PolicyServer(lm, name)
