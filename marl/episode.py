"""The record of an episode: the log, and beside it what was measured while sampling.

Trace = one agent's view of an episode as token ids; Episode = all of it. The log holds what was said and done, so that
two runs of one episode compare byte for byte; log-probabilities depend in their last digit on how a batch was computed
and therefore stand here (docs/decisions/0002).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from arenas.spec import ReplySpec, Words
from protocols.envelope import NO_DATA
from protocols.log import Log


class Finish(StrEnum):
    """Why sampling of a reply ended."""

    STOP = "stop"  # the policy ended it (or had said all that the spec allows)
    LENGTH = "length"  # it was cut off
    MISSING = "missing"  # no reply came before the deadline


FINISHES: Final = {finish.value: finish for finish in Finish}


FROZEN: Final = "@"
"""Stands between name and version in the name of a frozen policy, which plays and is not trained."""


class Stop(StrEnum):
    """Why an episode ended."""

    TERMINATED = "terminated"  # by its rules
    TRUNCATED = "truncated"  # by a limit: the rules would have gone on
    OVERFLOW = "overflow"  # an agent's context was full: the rules would have gone on
    ERROR = "error"  # a participant failed; the finished turns are kept


class Sample(NamedTuple):
    """What a policy answered. Without `tokens` it cannot be trained on."""

    text: str
    tokens: tuple[int, ...] = ()
    """Sampled ids with the end-of-reply token, exactly as drawn."""
    logprobs: tuple[float, ...] = ()
    """Log-probability of each token under the behaviour policy (T=1, masked to the reply spec)."""
    version: int = 0
    """The version of the weights that drew it."""
    finish: Finish = Finish.STOP
    usage: Mapping[str, float] = NO_DATA
    """What an endpoint counted: `prompt` and `completion` tokens, and `cost` where it has a price."""
    thought: str = ""
    """What the policy thought to itself before it replied. Nobody else ever gets it."""
    thinking: int = 0
    """Tokens of that thought, which stand before those of the reply."""


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
