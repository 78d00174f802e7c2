"""Credit by other futures: each decision of each episode is played again from the log, several times.

The past is replayed and costs no sampling; from the decision on the policies reply anew, with other draws. Because
agents' draws have coordinates, all that differs between two futures comes from the reply and what followed it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from marl import credit
from marl.credit import baselines
from marl.credit.arrays import Array, Ledger
from marl.episode import Episode
from marl.policy.base import Seats
from marl.rollout.plan import Plan
from marl.rollout.replay import fork, replay
from protocols.draws import key
from protocols.log import Entry, Log

Gamma = tuple[float, credit.Unit]
"""The discount, and what it is paid for."""
Play = Callable[[Sequence[Plan]], list[Episode]]
"""Plays plans in the world of the run."""


def futures(episodes: Sequence[Episode], book: Ledger, live: Seats, play: Play, count: int, gamma: Gamma) -> Array:
    """Return V [E, K + 1, N]: the mean return over `count` futures drawn anew at each decision.

    As the baseline of Monte Carlo credit this is leave-one-out credit by replay (C3, 2026): the reply that was given is
    not among those it is compared with. As values before each decision they are VinePPO's (Kazemnejad et al. 2025).
    """
    plans = [
        fork(episode.log, turn.seq, live, salt=key("future", j))
        for episode in episodes
        for turn in episode.turns
        for j in range(count)
    ]
    return _mean_returns(episodes, book, play(plans), count, gamma)


def defaults(episodes: Sequence[Episode], book: Ledger, live: Seats, play: Play, gamma: Gamma) -> Array:
    """Return V [E, K + 1, N]: the return had the agent given its default reply instead (difference rewards).

    D = G(z) - G(z with the default in place of what agent i did) (Wolpert & Tumer 2002).
    """
    plans = [
        replay(_with_default(episode, k), live, upto=turn.seq + 1)
        for episode in episodes
        for k, turn in enumerate(episode.turns)
    ]
    return _mean_returns(episodes, book, play(plans), 1, gamma)


def _with_default(episode: Episode, k: int) -> Log:
    """Return the log with the k-th reply replaced by what counts as no reply."""
    turn, log = episode.turns[k], episode.log
    entries = list(log.entries)
    sent = entries[turn.seq].envelope
    entries[turn.seq] = Entry(sent._replace(body=" ".join(turn.spec.default)))
    made = log.prefix(len(log.entries))
    made.entries = entries
    return made


def _mean_returns(
    episodes: Sequence[Episode], book: Ledger, played: Sequence[Episode], count: int, gamma: Gamma
) -> Array:
    size, decisions, agents = book.rewards.shape
    values = np.zeros((size, decisions + 1, agents))
    returns = baselines.to_go(credit.ledger(played, gamma[0], per=gamma[1]))
    at = 0
    for e, episode in enumerate(episodes):
        for k in range(len(episode.turns)):
            values[e, k] = returns[at : at + count, k].mean(0)
            at += count
    return values
