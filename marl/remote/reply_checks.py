"""Checks of what a seat says of its own reply, where the host trains on it: only its words are taken from the wire.

A reply to be trained on is a function of its words: the tokens are the one spelling of the words under the reply spec,
the version is that of the weights that the host announced to the seat, and the trainer computes the log-probabilities
itself (`trainers/rescoring.py`). What the seat says of tokens, log-probabilities and version is compared and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from arenas.spec import ReplySpec, Words, from_wire
from marl.episode import Sample
from marl.remote import wire
from protocols.envelope import Envelope
from protocols.errors import ProtocolError

MOST_ILLEGAL: Final = 4096
"""Characters that are kept of an illegal reply, or twice the reply spec's `free` if that is more."""
Spell = Callable[[Words], tuple[int, ...]]
"""Returns a reply of these words as tokens of the seat's model, with its end."""


class ReplyRecord(NamedTuple):
    """What is needed to check a reply once the trainer has scored it."""

    seed: int
    """Of the reply's draws."""
    logprobs: tuple[float, ...]
    """As the seat said; empty if it said anything that is not so."""


class ReplyChecks:
    """Checked replies of the seats that are trained on.

    Args:
        spell: seat -> spelling of its model, for the seats whose replies are to be trained on.
    """

    def __init__(self, spell: Mapping[str, Spell] | None = None) -> None:
        self._spell = spell or {}
        self.records: dict[tuple[str, str, int], ReplyRecord] = {}
        """(episode, seat, index of the view) -> record, of replies that were drawn; the trainer clears it."""
        self.untrue: Counter[str] = Counter()
        """Seat -> replies about which it said what is not so."""
        self.first: dict[str, str] = {}
        """Seat -> the first of these, in words."""

    def read(self, seat: str, view: Envelope, reply: Envelope, version: int) -> tuple[Sample, str]:
        """Return the sample of a reply, and what its seat said of it that is not so ("" if nothing).

        `version` is that of the weights announced to the seat. Raises ProtocolError for bad data of a seat that is not
        trained on: of one that is, the words are taken all the same.
        """
        spec = from_wire(view.data["reply"])
        words = spec.parse(reply.body)
        text = reply.body if words is not None else reply.body[: max(MOST_ILLEGAL, 2 * spec.free)]
        spell = self._spell.get(seat)
        if spell is None:
            return wire.reply(reply)._replace(text=text), ""
        tokens = spell(words) if words is not None and is_listed(spec, words) else ()
        sample = Sample(text if words is None else " ".join(words), tokens, (0.0,) * len(tokens), version)
        wrong, logprobs = _compare(reply, sample)
        if wrong:
            self.count(seat, f"{wrong} (episode {reply.episode}, view {view.seq})")
        if tokens and not view.data.get("greedy"):
            self.records[reply.episode, seat, view.seq] = ReplyRecord(int(view.data.get("seed", 0)), logprobs)
        return sample, wrong

    def count(self, seat: str, wrong: str) -> None:
        """Count a reply about which its seat said what is not so."""
        self.untrue[seat] += 1
        self.first.setdefault(seat, wrong)


def is_listed(spec: ReplySpec, words: Words) -> bool:
    """Return whether legal words are among the listed ones: where any text is legal, only these can be spelled."""
    steps = spec.steps
    return spec.least <= len(words) <= len(steps) and all(w in step for w, step in zip(words, steps, strict=False))


def _compare(reply: Envelope, sample: Sample) -> tuple[str, tuple[float, ...]]:
    """Return what a seat said that is not so of its reply; else "" and its log-probabilities.

    The data may be anything: JSON of the seat's choice.
    """
    try:
        said = wire.reply(reply)
    except ProtocolError as error:
        return str(error), ()
    wrong = ""
    if said.tokens != sample.tokens:
        what = "an illegal reply, which no tokens spell" if not sample.tokens else f"{sample.text!r}"
        wrong = f"the tokens {_short(said.tokens)} do not spell {what}" if said.tokens else "no tokens"
    elif len(said.behavior_logprobs) != len(sample.tokens):
        wrong = f"{len(said.behavior_logprobs)} log-probabilities of {len(sample.tokens)} tokens"
    elif said.tokens and said.version != sample.version:
        wrong = f"version {said.version} of the weights, where {sample.version} is the one published"
    elif said.thinking or said.thought or said.usage:
        wrong = "a thought or a usage: models from scratch have none"
    return wrong, () if wrong else said.behavior_logprobs


def _short(tokens: tuple[Any, ...]) -> str:
    return "[" + ", ".join(map(str, tokens[:8])) + (", ...]" if len(tokens) > 8 else "]")
