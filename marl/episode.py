"""The record of an episode: the log, and beside it what was measured while sampling.

Trace = one agent's view of an episode as token ids; Episode = all of it. The log holds what was said and done, so that
two runs of one episode compare byte for byte; log-probabilities depend in their last digit on how a batch was computed
and therefore stand here (docs/decisions/0002).
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

    STOP = "stop"  # the policy ended it (or had said all that the spec allows)
    LENGTH = "length"  # it was cut off
    MISSING = "missing"  # no reply came before the deadline


FROZEN: Final = "@"
"""Stands between name and version in the name of a frozen policy, which plays and is not trained."""


_FINISHES: Final = {finish.value: finish for finish in Finish}


class Stop(StrEnum):
    """Why an episode ended."""

    TERMINATED = "terminated"  # by its rules
    TRUNCATED = "truncated"  # by a limit: the rules would have gone on
    OVERFLOW = "overflow"  # an agent's context was full: the rules would have gone on
    ERROR = "error"  # a participant failed; the finished turns are kept


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
    """What an endpoint counted: `prompt` and `completion` tokens, and `cost` where it has a price."""
    thought: str = ""
    """What the policy thought to itself before it replied. Nobody else ever gets it."""
    thinking: int = 0
    """Tokens of that thought, which stand before those of the reply."""

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
    """Place of the reply in the log."""
    stage: int
    """Round of the arena: agents asked in the same stage move at once as far as discounting goes."""
    spec: ReplySpec
    words: Words
    """What took effect: the reply, or the spec's default where it was not legal."""
    legal: bool
    sample: Sample


@dataclass(frozen=True, slots=True)
class Episode:
    """One played episode."""

    log: Log
    agents: tuple[str, ...]
    turns: tuple[Turn, ...]
    rewards: tuple[tuple[float, ...], ...]
    """[turns, agents]: what each agent was paid after a turn and before the next one."""
    stop: Stop
    error: str = ""
    drift: int = field(default=0)
    """Envelopes that did not count: late, unasked or repeated replies, and losses at full inboxes."""

    @property
    def returns(self) -> tuple[float, ...]:
        """Return of each agent, undiscounted."""
        # Within a stage nothing is paid, in one row for all of its turns: a thousand agents have a thousand of them.
        nothing = {id(row) for row in {id(row): row for row in self.rewards}.values() if not any(row)}
        paid = [row for row in self.rewards if id(row) not in nothing]
        return tuple(sum(column) for column in zip(*paid, strict=True)) or (0.0,) * len(self.agents)

    @property
    def learners(self) -> tuple[bool, ...]:
        """Whether each agent is played by a policy in training; frozen versions of a league are others' context."""
        return tuple(FROZEN not in self.log.seats.get(agent, "") for agent in self.agents)

    @property
    def score(self) -> float:
        """The mean over agents of their returns: the convention of `arenas.Anchors`."""
        return sum(self.returns) / len(self.agents)


@dataclass(frozen=True, slots=True)
class Trace:
    """One agent's view of an episode as token ids."""

    agent: str
    ids: tuple[int, ...]
    spans: tuple[tuple[int, int, int], ...]
    """(start, stop, turn): ids[start:stop] is what the agent sampled at `Episode.turns[turn]`."""
