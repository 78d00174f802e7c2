"""A person as a policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from arenas.spec import ReplySpec
from marl.context.transcript import Transcript
from marl.episode import Sample
from marl.policy.base import TextPolicy
from protocols.envelope import Envelope


class Human(TextPolicy):
    """A person: `ask` shows newly heard envelopes and returns the typed line."""

    name = "human"

    def __init__(self, ask: Callable[[Sequence[Envelope], ReplySpec], str]) -> None:
        self._ask = ask
        self._shown: dict[int, int] = {}  # id of a transcript -> how many of its envelopes were shown

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        """Ask until the line is a legal reply."""
        new = transcript.heard[self._shown.get(id(transcript), 0) :]
        self._shown[id(transcript)] = len(transcript.heard)
        while True:
            line = self._ask(new, spec)  # the episode waits for the person
            if spec.parse(line) is not None:
                return Sample(line)
            new = []

    def close(self, transcript: Transcript) -> None:
        """Forget which envelopes were shown."""
        self._shown.pop(id(transcript), None)
