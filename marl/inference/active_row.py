"""ActiveRow: a reply in progress in the running batch."""

from __future__ import annotations

from dataclasses import dataclass, field

from marl.context.transcript import Transcript
from marl.grammar.automaton import Grammar, State
from marl.inference.request import GenerationRequest
from marl.models.chat_model import ChatModel


@dataclass(slots=True)
class ActiveRow:
    """A reply in progress: the request, where its grammar stands, and what has been drawn."""

    lm: ChatModel
    request: GenerationRequest
    version: int
    grammar: Grammar
    state: State
    tokens: list[int] = field(default_factory=list)
    behavior_logprobs: list[float] = field(default_factory=list)
    length: int = 0
    """Tokens whose keys and values are in the cache."""

    @property
    def transcript(self) -> Transcript:
        """The transcript that waits for the reply."""
        return self.request.transcript

    @property
    def weights(self) -> tuple[str | None, int]:
        """Adapter and version: keys and values can be shared by rows that agree in both."""
        return self.lm.adapter, self.version
