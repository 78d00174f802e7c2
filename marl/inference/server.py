"""PolicyServer: answers all waiting requests, of all episodes and agents, as one batch.

Requests gather while tasks run. When the loop is idle, that is when every task waits for something, all of them are
answered together: batches are as large as they can be, and no time window has to be guessed.
"""

from __future__ import annotations

import asyncio

from typing_extensions import override

from arenas.spec import ReplySpec
from marl.context.transcript import Transcript
from marl.episode import Sample
from marl.inference.engine import Engine, engine_of
from marl.inference.request import GenerationRequest
from marl.inference.sampler import generate
from marl.models.chat_model import ChatModel
from marl.models.language_model import LanguageModel
from marl.policy.base import Answered, BatchedPolicy, PendingReply
from protocols.clock import EpisodeLoop, episode_loop


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
        self._waiting: list[GenerationRequest] = []
        self._loop: EpisodeLoop | None = None

    def open(self) -> Transcript:
        """Return a transcript in this model's tokens."""
        return self.lm.open()

    @override
    def ask(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool, done: Answered) -> PendingReply:
        if asyncio.get_running_loop() is not self._loop:
            self._loop = episode_loop()
            self._waiting = []
            self._loop.on_idle(self._answer)
        request = GenerationRequest(transcript, spec, seed, greedy, done)
        self._waiting.append(request)
        return request

    def close(self, transcript: Transcript) -> None:
        """Release the transcript's row of the cache."""
        transcript.cache = None
        transcript.cached = 0

    def publish(self, version: int) -> None:
        """Announce that the weights have changed; caches of older versions are no longer used."""
        self.version = version
        self.lm.trim()

    def _answer(self) -> bool:
        """Sample replies to all waiting requests, `max_batch` rows at a time; return whether there were any."""
        waiting = [request for request in self._waiting if not request.cancelled]
        self._waiting = []
        for first in range(0, len(waiting), self.max_batch):
            batch = waiting[first : first + self.max_batch]
            self.lm.eval()
            samples = generate(self.lm, batch, self.version)
            self.batches += 1
            self.sampled += sum(len(sample.tokens) for sample in samples)
            for request, sample in zip(batch, samples, strict=True):
                request.done(sample)
        return bool(waiting)


class ChatServer(PolicyServer):
    """The policy of seats that a chat model plays. All policies on one base share its engine, and so their batches."""

    lm: ChatModel

    def __init__(self, lm: ChatModel, name: str) -> None:
        super().__init__(lm, name)
        self.engine: Engine = engine_of(lm.base, lm.settings.rows, int(lm.settings.cache * (1 << 30)))

    @override
    def ask(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool, done: Answered) -> PendingReply:
        # `done` gets ContextFullError where the transcript leaves no room for a reply.
        self.engine.attend(episode_loop())

        def forward(reply: Sample | Exception) -> None:
            if not request.cancelled:
                if isinstance(reply, Sample):
                    self.sampled += len(reply.tokens)
                done(reply)

        request = GenerationRequest(transcript, spec, seed, greedy, forward)
        self.engine.ask(self.lm, request, self.version)
        return request

    @override
    def close(self, transcript: Transcript) -> None:
        self.engine.forget(transcript)

    @override
    def publish(self, version: int) -> None:
        super().publish(version)
        self.lm.base.touch()


def serve(lm: LanguageModel, name: str) -> PolicyServer:
    """Return the server for a model."""
    return ChatServer(lm, name) if isinstance(lm, ChatModel) else PolicyServer(lm, name)
