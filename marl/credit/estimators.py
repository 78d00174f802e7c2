"""Returns and advantages: pure functions of rewards and values, the equation above each.

Axes: E episodes, K decisions in log order (padded), N agents. `values[e, k, i]` is V_i just before decision k, and
`values[e, K_e]` (K_e = the number of decisions) is V_i after the last one. `rewards[e, k, i]` is paid between
decisions k and k+1. Decisions of one stage are simultaneous; the log orders them by seat. `discount[e, k]` leads from
decision k to k+1: gamma^(rounds between them), so 1 within a stage, or gamma^(seconds between their replies)
with `gamma_per = "second"`; and 0 at the end of an episode that terminated.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from marl.credit.arrays import Array, Credit, EpisodeArrays, check_shape, decided


def lambda_advantage(arrays: EpisodeArrays, values: Array, lam: float) -> Array:
    """Generalised advantage over decisions, for every agent: [E, K, N] (Schulman et al. 2016, eq. 16).

    delta_k = r_k + discount_k V_{k+1} - V_k;    A_k = delta_k + discount_k lambda A_{k+1}
    """
    _check_values(arrays, values)
    discount = arrays.discount
    delta = np.where(
        arrays.valid[..., None], arrays.rewards + discount[..., None] * values[:, 1:] - values[:, :-1], 0.0
    )
    advantage = np.zeros_like(delta)
    next_advantage = np.zeros_like(delta[:, 0])
    for k in reversed(range(delta.shape[1])):
        next_advantage = delta[:, k] + (discount[:, k, None] * lam) * next_advantage
        advantage[:, k] = next_advantage
    return advantage


def sequential(arrays: EpisodeArrays, values: Array, lam: float) -> Credit:
    """Credit telescoped over the log: the baseline of a decision sees every decision before it, also of its own stage.

    With lambda = 0 the advantages of those who move at once are V after minus V before each one's own move, and add up
    to the joint advantage: the multi-agent advantage decomposition (Kuba et al. 2022, lemma 1; Wen et al. 2022). lambda
    in [0.9, 1] trusts a young critic less.
    """
    return _credit(arrays, lambda_advantage(arrays, values, lam), values)


def team(arrays: EpisodeArrays, values: Array, lam: float) -> Credit:
    """One advantage per stage, from the value before it, for all who move in it (MAPPO, Yu et al. 2022).

    A_s = sum_{k in s} r_k + gamma V_{s+1} - V_s + gamma lambda A_{s+1}
    """
    _check_values(arrays, values)
    count = arrays.stage.shape[1]
    first = np.ones_like(arrays.stage, dtype=bool)
    first[:, 1:] = arrays.stage[:, 1:] != arrays.stage[:, :-1]
    # start[e, k]: the first decision of the stage of decision k; V and r of a whole stage are summed there.
    start = np.maximum.accumulate(np.where(first, np.arange(count), 0), axis=1)
    stage_rewards = np.zeros_like(arrays.rewards)
    rows = np.arange(len(stage_rewards))[:, None]
    np.add.at(stage_rewards, (rows, start), arrays.rewards)
    advantage = np.zeros_like(arrays.rewards)
    next_advantage = np.zeros_like(values[:, 0])
    next_value = values[:, count].copy()
    factor = np.zeros(len(stage_rewards))
    for k in reversed(range(count)):
        last = np.ones(len(stage_rewards), bool) if k == count - 1 else first[:, k + 1]
        factor = np.where(last, arrays.discount[:, k], factor)  # discount to the next stage
        delta = stage_rewards[:, k] + factor[:, None] * next_value - values[:, k]
        stage_advantage = np.where(arrays.valid[:, k, None], delta + factor[:, None] * lam * next_advantage, 0.0)
        next_advantage = np.where(first[:, k, None], stage_advantage, next_advantage)
        next_value = np.where(first[:, k, None], values[:, k], next_value)
        advantage[:, k] = stage_advantage
    advantage = np.take_along_axis(advantage, start[..., None], 1)
    baseline = np.take_along_axis(values[:, :-1], start[..., None], 1)
    return _credit(arrays, advantage, np.concatenate([baseline, values[:, -1:]], 1))


def individual(arrays: EpisodeArrays, values: Array, lam: float) -> Credit:
    """Each agent alone, from one decision of its own to its next (independent learners, IPPO; de Witt et al. 2020).

    For agent i with decisions k_1 < k_2 < ... and d_j the discount between k_j and k_{j+1}:
    delta_j = sum_{k_j <= k < k_{j+1}} (discounted r_k) + d_j V_i(k_{j+1}) - V_i(k_j)
    A_j = delta_j + d_j lambda A_{j+1}
    """
    _check_values(arrays, values)
    size, count, agents = arrays.rewards.shape
    advantage = np.full((size, count, agents), np.nan)
    for i in range(agents):
        reward = np.zeros(size)  # discounted reward until the agent's next decision, seen from decision k
        factor = np.ones(size)  # discount until there
        next_advantage = np.zeros(size)
        next_value = values[:, count, i].copy()
        for k in reversed(range(count)):
            live = arrays.actor[:, k] >= 0
            reward = np.where(live, arrays.rewards[:, k, i] + arrays.discount[:, k] * reward, reward)
            factor = np.where(live, arrays.discount[:, k] * factor, factor)
            next_value = np.where(live, next_value, values[:, k, i])  # of a padded row: the value after its end
            own = arrays.actor[:, k] == i
            value = values[:, k, i]
            now = reward + factor * next_value - value + factor * lam * next_advantage
            advantage[own, k, i] = now[own]
            next_advantage = np.where(own, now, next_advantage)
            next_value = np.where(own, value, next_value)
            reward = np.where(own, 0.0, reward)
            factor = np.where(own, 1.0, factor)
    return _credit(arrays, advantage, values)


def monte_carlo(arrays: EpisodeArrays, values: Array, lam: float) -> Credit:
    """Monte Carlo advantage: A_k = sum_{l >= k} (discounted r_l) - V_k; lambda is not used."""
    return sequential(arrays, values, 1.0)


def _credit(arrays: EpisodeArrays, advantage: Array, baseline: Array) -> Credit:
    learner = arrays.valid[..., None] & arrays.learner[:, None]  # [E, K, N]
    target = np.where(learner, advantage + baseline[:, :-1], np.nan)
    trained = np.take_along_axis(learner, np.maximum(arrays.actor, 0)[..., None], -1)[..., 0]
    return Credit(np.where(trained, decided(advantage, arrays.actor), np.nan), target)


def _check_values(arrays: EpisodeArrays, values: Array) -> None:
    size, count, agents = arrays.rewards.shape
    check_shape("values", values, "E, K + 1, N", (size, count + 1, agents))


def normalise(advantage: Array, actor: NDArray[np.int64], agents: int) -> Array:
    """Give each agent's advantages mean 0 and deviation 1; a group without variance gives 0 (Dr. MAS, 2026).

    NaN stays NaN and does not count. Token advantages [E, K, J] are normalised over tokens.
    """
    check_shape("actor", actor, "E, K", advantage.shape[:2])
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
