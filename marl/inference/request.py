"""GenerationRequest: a transcript that waits for a sampled reply."""

from __future__ import annotations

from dataclasses import dataclass

from arenas.spec import ReplySpec
from marl.context.transcript import Transcript
from marl.episode import Sample
from marl.policy.base import Answered


def ignore_reply(reply: Sample | Exception) -> None:
    """Do nothing with a reply: the default of callers that read the return value of `generate`."""


@dataclass(slots=True)
class GenerationRequest:
    """Request to sample a reply; `done` is called with it. `seed` has the coordinates of the decision."""

    transcript: Transcript
    spec: ReplySpec
    seed: int
    greedy: bool = False
    done: Answered = ignore_reply
    cancelled: bool = False

    def cancel(self) -> None:
        """Drop the reply when it comes."""
        self.cancelled = True
