"""Returns of other futures: each decision of each episode is played again from the log, several times.

The past is replayed and costs no sampling; from the decision on the policies reply anew, with other draws. Because
agents' draws have coordinates, two futures differ only by the reply and its consequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from marl.credit import baselines
from marl.credit.arrays import Array, EpisodeArrays, Unit, episode_arrays
from marl.episode import Episode
from marl.policy.base import Seats
from marl.rollout.plan import Plan
from marl.rollout.replay import fork, replay
from protocols.draws import key
from protocols.log import Entry, Log

Gamma = tuple[float, Unit]
"""The discount, and what it is paid for."""


class Forks(NamedTuple):
    """Plans of other futures, `per_decision` of them for each decision, episode by episode."""

    plans: list[Plan]
    per_decision: int


def future_plans(episodes: Sequence[Episode], live: Seats, count: int) -> Forks:
    """Plan `count` futures drawn anew at each decision.

    As the baseline of Monte Carlo credit their mean return is leave-one-out credit by replay (C3, 2026): a reply is not
    among those it is compared with. As values before each decision they are VinePPO's (Kazemnejad et al. 2025).
    """
    plans = []
    for episode in episodes:
        for turn in episode.turns:
            plans += [fork(episode.log, turn.seq, live, salt=key("future", j)) for j in range(count)]
    return Forks(plans, count)


def default_plans(episodes: Sequence[Episode], live: Seats) -> Forks:
    """Plan for each decision the future in which the agent gave its default reply (difference rewards).

    D = G(z) - G(z with the default in place of what agent i did) (Wolpert & Tumer 2002).
    """
    plans = []
    for episode in episodes:
        for k, turn in enumerate(episode.turns):
            plans.append(replay(_with_default(episode, k), live, upto=turn.seq + 1))
    return Forks(plans, 1)


def _with_default(episode: Episode, k: int) -> Log:
    """Return the log with the default reply in place of the k-th."""
    turn, log = episode.turns[k], episode.log
    entries = list(log.entries)
    sent = entries[turn.seq].envelope
    entries[turn.seq] = Entry(sent._replace(body=" ".join(turn.spec.default)))
    changed = log.prefix(len(log.entries))
    changed.entries = entries
    return changed


def mean_returns(arrays: EpisodeArrays, forks: Forks, played: Sequence[Episode], gamma: Gamma) -> Array:
    """Return V [E, K + 1, N]: the mean return of the futures of each decision, 0 after the last."""
    size, decisions, agents = arrays.rewards.shape
    values = np.zeros((size, decisions + 1, agents))
    returns = baselines.to_go(episode_arrays(played, gamma[0], per=gamma[1]))
    first = 0
    for e, k in np.argwhere(arrays.valid):
        values[e, k] = returns[first : first + forks.per_decision, k].mean(0)
        first += forks.per_decision
    return values
