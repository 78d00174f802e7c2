"""Transcripts: an agent's view of the log as token ids, append-only.

Each envelope is tokenised once, when it arrives. Replies stay in the context as the ids that were sampled: their text
is never tokenised again.

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
    """Tokenizer function: text -> token ids."""

    def __call__(self, text: str, said: bool = False) -> Sequence[int]:
        """Encode a view; with `said`, a message of another agent, which may contain unknown words."""


def render(envelope: Envelope) -> str:
    """Return the text that an envelope adds to the context of its receiver; empty for kinds without text."""
    if envelope.kind is Kind.SAY:
        where = "" if envelope.to == EVERYONE else f" {envelope.to}"
        return f"{envelope.sender}{where} : {envelope.body}"
    if envelope.kind is Kind.RESULT:
        return f"{envelope.sender} : {envelope.body}"
    return envelope.body if envelope.kind is Kind.VIEW else ""


class Transcript:
    """Envelopes and replies of one agent in one episode.

    `heard` holds the envelopes, for policies that read text; `answers` the agent's replies as (number of envelopes
    before it, text), for policies that note them; `ids` the token ids, for policies that read tokens (with `encode`).
    `cache` and `cached` belong to the policy server: the rows of its KV cache, and how many ids are in them.
    """

    __slots__ = ("_encode", "answers", "cache", "cached", "heard", "ids", "restarts")

    def __init__(self, encode: Encode | None = None) -> None:
        self._encode = encode
        self.heard: list[Envelope] = []
        self.answers: list[tuple[int, str]] = []
        self.ids: list[int] = list(encode(BOS)) if encode else []
        self.cache: Any = None
        self.cached = 0
        self.restarts = 0
        """How often `ids` were laid out anew instead of appended to."""

    def hear(self, envelope: Envelope) -> None:
        """Append an envelope that the agent received."""
        self.heard.append(envelope)
        if self._encode and (text := render(envelope)):
            self.ids += self._encode(text, envelope.kind in (Kind.SAY, Kind.RESULT))

    def ask(self) -> None:
        """Append the prompt for a reply."""
        if self._encode:
            self.ids += self._encode(PROMPT)

    def take_back(self, length: int) -> None:
        """Remove all ids after the first `length`: those of a reply that missed its deadline."""
        del self.ids[length:]
        self.cached = min(self.cached, length)
        if self.answers and self.answers[-1][0] == len(self.heard):
            self.answers.pop()

    def answered(self, text: str) -> None:
        """Note a reply as text."""
        self.answers.append((len(self.heard), text))

    def replied(self, tokens: Sequence[int]) -> None:
        """Append sampled tokens."""
        self.ids += tokens

    def restart(self, ids: list[int]) -> None:
        """Replace all token ids and drop the KV cache."""
        self.ids, self.cache, self.cached = ids, None, 0
        self.restarts += 1


Open = Callable[[], Transcript]
"""Makes an empty transcript of the kind that a model reads."""
