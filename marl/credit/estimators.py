"""Returns and advantages: pure functions of rewards and values, the equation above each.

Axes: E episodes, K decisions in log order (padded), N agents. `values[e, k, i]` is V_i just before decision k, and
`values[e, K_e]` (K_e = the number of decisions) is V_i after the last one. `rewards[e, k, i]` is paid between
decisions k and k+1. Decisions of one stage were made at once; the log orders them by seat. `discount[e, k]` leads from
decision k to k+1: gamma^(rounds between them), so 1 within a stage, or gamma^(seconds between their replies) where time
counts; and 0 after the end of an episode that terminated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from marl.credit.arrays import Array, Credit, Ledger, decided


def lambda_advantage(book: Ledger, values: Array, lam: float) -> Array:
    """Generalised advantage over decisions, for every agent: [E, K, N] (Schulman et al. 2016, eq. 16).

    delta_k = r_k + discount_k V_{k+1} - V_k;    A_k = delta_k + discount_k lambda A_{k+1}
    """
    discount = book.discount
    delta = np.where(book.valid[..., None], book.rewards + discount[..., None] * values[:, 1:] - values[:, :-1], 0.0)
    advantage = np.zeros_like(delta)
    following = np.zeros_like(delta[:, 0])
    for k in reversed(range(delta.shape[1])):
        following = delta[:, k] + (discount[:, k, None] * lam) * following
        advantage[:, k] = following
    return advantage


def sequential(book: Ledger, values: Array, lam: float) -> Credit:
    """Credit telescoped over the log: the baseline of a decision sees every decision before it, also of its own stage.

    With lambda = 0 the advantages of those who move at once are V after minus V before each one's own move, and add up
    to the joint advantage: the multi-agent advantage decomposition (Kuba et al. 2022, lemma 1; Wen et al. 2022). lambda
    in [0.9, 1] trusts a young critic less.
    """
    return _credit(book, lambda_advantage(book, values, lam), values)


def team(book: Ledger, values: Array, lam: float) -> Credit:
    """One advantage per stage, from the value before it, for all who move in it (MAPPO, Yu et al. 2022).

    A_s = sum_{k in s} r_k + gamma V_{s+1} - V_s + gamma lambda A_{s+1}
    """
    count = book.stage.shape[1]
    first = np.ones_like(book.stage, dtype=bool)
    first[:, 1:] = book.stage[:, 1:] != book.stage[:, :-1]
    # start[e, k]: the first decision of the stage of decision k; V and r of a whole stage are booked there.
    start = np.maximum.accumulate(np.where(first, np.arange(count), 0), axis=1)
    paid = np.zeros_like(book.rewards)
    rows = np.arange(len(paid))[:, None]
    np.add.at(paid, (rows, start), book.rewards)
    advantage = np.zeros_like(book.rewards)
    following = np.zeros_like(values[:, 0])
    next_value = values[:, count].copy()
    factor = np.zeros(len(paid))
    for k in reversed(range(count)):
        last = np.ones(len(paid), bool) if k == count - 1 else first[:, k + 1]
        factor = np.where(last, book.discount[:, k], factor)  # what leads out of the stage
        delta = paid[:, k] + factor[:, None] * next_value - values[:, k]
        stage_advantage = np.where(book.valid[:, k, None], delta + factor[:, None] * lam * following, 0.0)
        following = np.where(first[:, k, None], stage_advantage, following)
        next_value = np.where(first[:, k, None], values[:, k], next_value)
        advantage[:, k] = stage_advantage
    advantage = np.take_along_axis(advantage, start[..., None], 1)
    baseline = np.take_along_axis(values[:, :-1], start[..., None], 1)
    return _credit(book, advantage, np.concatenate([baseline, values[:, -1:]], 1))


def individual(book: Ledger, values: Array, lam: float) -> Credit:
    """Each agent alone, from one decision of its own to its next (independent learners, IPPO; de Witt et al. 2020).

    For agent i with decisions k_1 < k_2 < ... and d_j the discount between k_j and k_{j+1}:
    delta_j = sum_{k_j <= k < k_{j+1}} (discounted r_k) + d_j V_i(k_{j+1}) - V_i(k_j)
    A_j = delta_j + d_j lambda A_{j+1}
    """
    size, count, agents = book.rewards.shape
    advantage = np.full((size, count, agents), np.nan)
    for i in range(agents):
        reward = np.zeros(size)  # discounted reward until the agent's next decision, seen from decision k
        factor = np.ones(size)  # discount until there
        following = np.zeros(size)
        next_value = values[:, count, i].copy()
        for k in reversed(range(count)):
            live = book.actor[:, k] >= 0
            reward = np.where(live, book.rewards[:, k, i] + book.discount[:, k] * reward, reward)
            factor = np.where(live, book.discount[:, k] * factor, factor)
            next_value = np.where(live, next_value, values[:, k, i])  # of a padded row: the value after its end
            own = book.actor[:, k] == i
            value = values[:, k, i]
            now = reward + factor * next_value - value + factor * lam * following
            advantage[own, k, i] = now[own]
            following = np.where(own, now, following)
            next_value = np.where(own, value, next_value)
            reward = np.where(own, 0.0, reward)
            factor = np.where(own, 1.0, factor)
    return _credit(book, advantage, values)


def monte_carlo(book: Ledger, values: Array, lam: float) -> Credit:
    """Whole returns against the value: A_k = sum_{l >= k} (discounted r_l) - V_k; lambda is not used."""
    return sequential(book, values, 1.0)


def _credit(book: Ledger, advantage: Array, baseline: Array) -> Credit:
    learner = book.valid[..., None] & book.learner[:, None]  # [E, K, N]
    target = np.where(learner, advantage + baseline[:, :-1], np.nan)
    trained = np.take_along_axis(learner, np.maximum(book.actor, 0)[..., None], -1)[..., 0]
    return Credit(np.where(trained, decided(advantage, book.actor), np.nan), target)


CREDITS: Final[dict[str, Callable[[Ledger, Array, float], Credit]]] = {
    "sequential": sequential,
    "team": team,
    "individual": individual,
    "monte_carlo": monte_carlo,
}


def normalise(advantage: Array, actor: NDArray[np.int64], agents: int) -> Array:
    """Give each agent's advantages mean 0 and deviation 1; a group without variance gives 0 (Dr. MAS, 2026).

    What was not scored has no part in it. By token [E, K, J] it is done over tokens.
    """
    result = advantage.copy()
    actor = actor.reshape(*actor.shape, *[1] * (advantage.ndim - 2))
    for i in range(agents):
        own = (actor == i) & ~np.isnan(advantage)
        if not own.any():
            continue
        spread = advantage[own].std()
        centred = advantage[own] - advantage[own].mean()
        result[own] = centred / spread if spread >= 1e-6 else 0.0  # less is fp32 rounding of the values
    return result
