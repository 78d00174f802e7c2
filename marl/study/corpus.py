"""Samples of a language: a meaning, the message sent for it, and what followed. From logs, or from anyone's file.

Everything that is counted takes samples, so that it works on whatever wrote them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from types import MappingProxyType
from typing import NamedTuple

from marl import conversation
from marl.study import lexicon
from marl.study.lexicon import Utterance, Words
from protocols.envelope import Kind
from protocols.log import Log


class Sample(NamedTuple):
    """A message in its context."""

    meaning: str
    """What its speaker was shown: its private information, words separated by spaces."""
    message: Words
    speaker: str = "speaker"
    place: int = 0
    """How many messages this speaker had sent before in the episode."""
    answers: Mapping[str, str] = MappingProxyType({})
    """Listener -> its first reply after the message was delivered to it."""
    own: str | None = None
    """The speaker's own next move; None where it makes none."""
    episode: str = ""
    held_out: bool = False
    score: float | None = None
    width: float | None = None
    """log2 of how many messages could have been said; None where talk was free, or nobody knows."""
    capacity: float | None = None
    """How many of these bits can reach one listener."""


def samples(found: Iterable[Utterance]) -> list[Sample]:
    """Return the messages of logs as samples."""
    return [
        Sample(
            u.meaning,
            u.message,
            u.speaker,
            u.place,
            u.answers,
            _own(u.log, u.speaker, u.seq),
            u.log.episode,
            u.log.deal.get("split", "train") != "train",
            score if isfinite(score := conversation.score(u.log)) else None,
        )
        for u in found
    ]


def from_logs(logs: Iterable[Log]) -> list[Sample]:
    """Return every message of some episodes."""
    return samples(lexicon.utterances(logs))


def _own(log: Log, speaker: str, seq: int) -> str | None:
    """Return what a speaker did first after it had spoken."""
    return next((e.body for e in log.replies(speaker) if e.seq > seq and e.kind is Kind.MOVE), None)


def by_speaker(found: Sequence[Sample]) -> dict[tuple[str, int], list[Sample]]:
    """Sort samples by speaker and place."""
    sorted_: dict[tuple[str, int], list[Sample]] = {}
    for each in found:
        sorted_.setdefault((each.speaker, each.place), []).append(each)
    return sorted_
