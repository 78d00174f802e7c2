"""Episodes as arrays: rewards, discounts and who decided, with the credit of each decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from marl.episode import Episode, Stop

Array = NDArray[np.float64]
Unit = Literal["round", "second"]
"""What gamma is paid for."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """What happened, as arrays."""

    rewards: Array  # [E, K, N]
    discount: Array  # [E, K]
    actor: NDArray[np.int64]  # [E, K] index of the agent that decided; -1 pads
    stage: NDArray[np.int64]  # [E, K] round of the arena; the padding counts on
    learner: NDArray[np.bool_]  # [E, N] False: a frozen version of the league plays the agent

    @property
    def valid(self) -> NDArray[np.bool_]:
        """[E, K] True at decisions, False at padding."""
        return self.actor >= 0


@dataclass(frozen=True, slots=True)
class Credit:
    """Numbers beside the episodes.

    nan where nothing was scored: padding, an agent's value where it has none, and all that is a frozen opponent's.
    """

    advantage: Array  # [E, K] of the agent that decided; or [E, K, J], one for each token of its reply
    target: Array  # [E, K, N] what V_i before decision k should have been


def ledger(episodes: Sequence[Episode], gamma: float, sharing: float = 0.0, per: Unit = "round") -> Ledger:
    """Lay episodes out as arrays. gamma is paid once per round of the arena, never per agent, or per simulated second.

    With `sharing` s agents learn from r'_i = (1 - s) r_i + s mean_j r_j: 0 leaves each its own reward, 1 makes a team.
    """
    agents = episodes[0].agents
    index = {agent: i for i, agent in enumerate(agents)}
    size, longest = len(episodes), max(len(episode.turns) for episode in episodes)
    rewards = np.zeros((size, longest, len(agents)))
    discount = np.zeros((size, longest))
    actor = np.full((size, longest), -1, np.int64)
    stage = np.zeros((size, longest), np.int64)
    for e, episode in enumerate(episodes):
        count = len(episode.turns)
        rounds = [turn.stage for turn in episode.turns]
        rewards[e, :count] = episode.rewards
        actor[e, :count] = [index[turn.agent] for turn in episode.turns]
        stage[e, :count] = rounds
        stage[e, count:] = np.arange(longest - count) + rounds[-1] + 1
        apart = [float(b - a) for a, b in pairwise([*rounds, rounds[-1] + 1])] if per == "round" else _seconds(episode)
        discount[e, :count] = [gamma**d for d in apart]
        if episode.stop is Stop.TERMINATED:
            discount[e, count - 1] = 0.0
    if sharing:
        rewards = (1 - sharing) * rewards + sharing * rewards.mean(-1, keepdims=True)
    return Ledger(rewards, discount, actor, stage, np.array([episode.learners for episode in episodes]))


def _seconds(episode: Episode) -> list[float]:
    """Return the simulated seconds from each reply to the next, and from the last one to the end of the episode."""
    entries = episode.log.entries
    times = [*(entries[turn.seq].envelope.time for turn in episode.turns), entries[-1].envelope.time]
    return [max(b - a, 0.0) for a, b in pairwise(times)]


def decided(array: Array, actor: NDArray[np.int64]) -> Array:
    """Pick from [E, K, N] the column of the agent that decided: [E, K]."""
    return np.take_along_axis(array, np.maximum(actor, 0)[..., None], -1)[..., 0]
