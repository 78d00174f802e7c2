"""Log -> token ids, append-only.

An agent's context is the text of its view of the log, tokenised piece by piece as it arrives and never again; what the
agent sampled stays in it as the ids that were drawn, never as re-tokenised text.

    <bos> state s3 > m1 <eos>                               the sender of `lewis`
    <bos> sender_0 : m1 which > s3 <eos>              the receiver
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from protocols.envelope import EVERYONE, Envelope, Kind

BOS: Final = "<bos>"
EOS: Final = "<eos>"
PAD: Final = "<pad>"
PROMPT: Final = ">"


class Encode(Protocol):
    """Text -> token ids."""

    def __call__(self, text: str, said: bool = False) -> Sequence[int]:
        """Encode what an agent was shown; or what it heard someone say, in which it need not know every word."""


def render(envelope: Envelope) -> str:
    """Return what an envelope adds to the context of an agent it reached; nothing for those without text."""
    if envelope.kind is Kind.SAY:
        where = "" if envelope.to == EVERYONE else f" {envelope.to}"
        return f"{envelope.sender}{where} : {envelope.body}"
    if envelope.kind is Kind.RESULT:
        return f"{envelope.sender} : {envelope.body}"
    return envelope.body if envelope.kind is Kind.VIEW else ""


class Transcript:
    """What one agent has perceived and replied in one episode.

    `heard` keeps the envelopes, for policies that read text, and `answers` its own replies, each with the number of
    envelopes heard before, for those that note them; `ids` the tokens, for those that read tokens (with `encode`).
    `cache` belongs to the policy server: where this transcript's keys and values are.
    """

    __slots__ = ("_encode", "answers", "cache", "cached", "heard", "ids")

    def __init__(self, encode: Encode | None = None) -> None:
        self._encode = encode
        self.heard: list[Envelope] = []
        self.answers: list[tuple[int, str]] = []
        self.ids: list[int] = list(encode(BOS)) if encode else []
        self.cache: Any = None
        self.cached = 0

    def hear(self, envelope: Envelope) -> None:
        """Append what reached the agent."""
        self.heard.append(envelope)
        if self._encode and (text := render(envelope)):
            self.ids += self._encode(text, envelope.kind in (Kind.SAY, Kind.RESULT))

    def ask(self) -> None:
        """Append the prompt for a reply."""
        if self._encode:
            self.ids += self._encode(PROMPT)

    def take_back(self, length: int) -> None:
        """Forget all ids after the first `length`: a reply that came too late was never given."""
        del self.ids[length:]
        self.cached = min(self.cached, length)
        if self.answers and self.answers[-1][0] == len(self.heard):
            self.answers.pop()

    def answered(self, text: str) -> None:
        """Note what was replied, as text."""
        self.answers.append((len(self.heard), text))

    def replied(self, tokens: Sequence[int]) -> None:
        """Append what was sampled."""
        self.ids += tokens


Open = Callable[[], Transcript]
"""Makes an empty transcript of the kind that a model reads."""
