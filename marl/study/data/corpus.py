"""Message samples: a meaning, the message sent for it, and what followed, from logs or files.

Everything that is counted takes samples, so that it works on whatever wrote them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from types import MappingProxyType
from typing import NamedTuple

from arenas.spec import from_wire
from marl.evaluation import log_lines
from marl.evaluation.traffic import sizes
from marl.scenario.world import World
from marl.study.data import lexicon
from marl.study.data.lexicon import Utterance, Words
from protocols.channel import PUBLIC
from protocols.envelope import EVERYONE, NOBODY, Kind
from protocols.log import Log


class MessageSample(NamedTuple):
    """A message with its meaning and context."""

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


Sample = MessageSample
"""Name in version 0.1."""


def samples(utterances: Iterable[Utterance], world: World | None = None) -> list[MessageSample]:
    """Return utterances as samples; with the `world`, also their channel capacity."""
    widths = _Widths(world)
    return [
        MessageSample(
            u.meaning,
            u.message,
            u.speaker,
            u.place,
            u.answers,
            _own(u.log, u.speaker, u.seq),
            u.log.episode,
            u.log.deal.get("split", "train") != "train",
            score if isfinite(score := log_lines.score(u.log)) else None,
            *widths.of(u),
        )
        for u in utterances
    ]


class _Widths:
    """Cache of message widths and capacities, by reply spec."""

    def __init__(self, world: World | None) -> None:
        self._world = world
        self._known: dict[str, tuple[float | None, float | None]] = {}

    def of(self, u: Utterance) -> tuple[float | None, float | None]:
        envelope = u.log.entries[u.seq].envelope
        name = PUBLIC if envelope.to in (EVERYONE, NOBODY) else envelope.to
        if self._world is None or envelope.reply_to is None or name not in self._world.channels:
            return None, None
        asked = u.log.entries[envelope.reply_to].envelope.data["reply"]
        key = json.dumps([name, asked])
        if key not in self._known:
            self._known[key] = sizes(self._world.channels[name], from_wire(asked))
        return self._known[key]


def from_logs(logs: Iterable[Log], world: World | None = None) -> list[MessageSample]:
    """Return every message of some episodes."""
    return samples(lexicon.utterances(logs), world)


def _own(log: Log, speaker: str, seq: int) -> str | None:
    """Return a speaker's first move after its message."""
    return next((e.body for e in log.replies(speaker) if e.seq > seq and e.kind is Kind.MOVE), None)


def by_speaker(samples: Sequence[MessageSample]) -> dict[tuple[str, int], list[MessageSample]]:
    """Sort samples by speaker and place."""
    sorted_: dict[tuple[str, int], list[MessageSample]] = {}
    for sample in samples:
        sorted_.setdefault((sample.speaker, sample.place), []).append(sample)
    return sorted_
