"""Episodes, turns, samples and traces: the record of what was played.

An `Episode` holds the log, and beside it what was measured while sampling. Logs of one episode are equal byte for byte;
log-probabilities depend in their last digits on how a batch was computed, so they stand beside the log
(docs/decisions/0002).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

from arenas.spec import ReplySpec, Words
from protocols.envelope import NO_DATA
from protocols.log import Log


class Finish(StrEnum):
    """Why sampling of a reply ended."""

    STOP = "stop"  # the policy ended it, or reached the end of the spec
    LENGTH = "length"  # it was cut off at a limit
    MISSING = "missing"  # no reply came before the deadline


FROZEN: Final = "@"
"""Separates name and version in the name of a frozen policy, which plays and is not trained."""


_FINISHES: Final = {finish.value: finish for finish in Finish}


class Stop(StrEnum):
    """Why an episode ended."""

    TERMINATED = "terminated"  # by the rules of the arena
    TRUNCATED = "truncated"  # by a limit, before the rules ended it
    OVERFLOW = "overflow"  # by the full context of an agent, before the rules ended it
    ERROR = "error"  # by an agent or a tool that failed; the finished turns are kept


class Sample(NamedTuple):
    """A policy's reply. Without `tokens` it cannot be trained on.

    `to_data` and `from_data` are the only place that knows how a reply is written beside its text: in envelopes, in
    logs and in journals.
    """

    text: str
    tokens: tuple[int, ...] = ()
    """Sampled ids with the end-of-reply token, exactly as drawn."""
    behavior_logprobs: tuple[float, ...] = ()
    """Log-probability of each token under the policy that drew it (T=1, masked to the reply spec)."""
    version: int = 0
    """The version of the weights that drew it."""
    finish: Finish = Finish.STOP
    usage: Mapping[str, float] = NO_DATA
    """Counts of an endpoint: `prompt` and `completion` tokens, and `cost` if it has a price."""
    thought: str = ""
    """Private reasoning before the reply. It is never sent to other agents."""
    thinking: int = 0
    """Number of tokens of that thought; they stand before those of the reply."""

    def to_data(self) -> dict[str, Any]:
        """Return all fields beside the text as JSON values; those at their defaults are left out."""
        data: dict[str, Any] = {}
        if self.finish is Finish.MISSING:
            data["missing"] = True
        if self.tokens:
            data["tokens"] = self.tokens
        if self.behavior_logprobs:
            data["logprobs"] = self.behavior_logprobs
        if self.tokens or self.version:
            data["version"] = self.version
        if self.finish is Finish.LENGTH:
            data["finish"] = self.finish.value
        if self.usage:
            data["usage"] = dict(self.usage)
        if self.thinking or self.thought:
            data |= {"thought": self.thought, "thinking": self.thinking}
        return data

    @classmethod
    def from_data(cls, text: str, data: Mapping[str, Any]) -> Sample:
        """Return the sample that `to_data` wrote; other keys are ignored, missing ones stand at their defaults."""
        return cls(
            text,
            tuple(data.get("tokens", ())),
            tuple(data.get("logprobs", ())),
            data.get("version", 0),
            Finish.MISSING if data.get("missing") else _FINISHES[data.get("finish", "stop")],
            data.get("usage") or NO_DATA,
            data.get("thought", ""),
            data.get("thinking", 0),
        )


MISSING: Final = Sample("", finish=Finish.MISSING)
"""Stands for a reply that did not come before its deadline."""


class Turn(NamedTuple):
    """One decision: an agent was asked and replied."""

    agent: str
    seq: int
    """Index of the reply in the log."""
    stage: int
    """Stage of the arena, counted from 0. All turns of a stage have the same discount."""
    spec: ReplySpec
    words: Words
    """Words that took effect: the reply, or the spec's default if the reply was not legal."""
    legal: bool
    sample: Sample


@dataclass(frozen=True, slots=True)
class Episode:
    """One played episode: log, turns, rewards, and why it ended."""

    log: Log
    agents: tuple[str, ...]
    turns: tuple[Turn, ...]
    rewards: tuple[tuple[float, ...], ...]
    """[turns, agents]: reward of each agent between a turn and the next one."""
    stop: Stop
    error: str = ""
    drift: int = field(default=0)
    """Envelopes that were dropped: late, unasked or repeated replies, and losses at full inboxes."""

    @property
    def returns(self) -> tuple[float, ...]:
        """Return of each agent, undiscounted."""
        paid = []
        zeros = None  # the referee puts one row of zeros after all turns without a reward: it is read only once
        for row in self.rewards:
            if row is zeros:
                continue
            if any(row):
                paid.append(row)
            else:
                zeros = row
        return tuple(sum(column) for column in zip(*paid, strict=True)) or (0.0,) * len(self.agents)

    @property
    def learners(self) -> tuple[bool, ...]:
        """Whether each agent's policy is in training; frozen versions of a league are not."""
        return tuple(FROZEN not in self.log.seats.get(agent, "") for agent in self.agents)

    @property
    def score(self) -> float:
        """Mean return over agents, on the scale of `arenas.Anchors`."""
        return sum(self.returns) / len(self.agents)


@dataclass(frozen=True, slots=True)
class Trace:
    """One agent's view of an episode as token ids."""

    agent: str
    ids: tuple[int, ...]
    spans: tuple[tuple[int, int, int], ...]
    """(start, stop, turn): the agent sampled ids[start:stop] at `Episode.turns[turn]`."""
