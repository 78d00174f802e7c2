"""Baselines without a critic, as values [E, K + 1, N] for Monte Carlo credit: pure functions.

A baseline may depend on anything but its own reply and the consequences: then it changes the variance of a policy
gradient, not its mean. So every mean here leaves the episode itself out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from marl.credit.arrays import Array, EpisodeArrays, check_shape
from marl.credit.estimators import lambda_advantage
from marl.episode import Episode
from protocols.envelope import Envelope


def to_go(arrays: EpisodeArrays) -> Array:
    """Discounted return to go of every agent, G_k = sum_{l >= k} (discounted r_l): [E, K, N]."""
    size, count, agents = arrays.rewards.shape
    return lambda_advantage(arrays, np.zeros((size, count + 1, agents)), 1.0)


def group(arrays: EpisodeArrays, groups: NDArray[np.int64]) -> Array:
    """Other episodes of the same deal (MAGRPO, Liu et al. 2025): their mean return from the same stage on.

    V_k = 1/(G - 1) sum_{e' != e} G_e'(stage of k), with 0 for an episode that was over by then. groups: [E].
    """
    check_shape("groups", groups, "E", arrays.actor.shape[:1])
    returns = to_go(arrays)
    size, count, agents = returns.shape
    stages = int(arrays.stage[arrays.valid].max()) + 1
    at = np.zeros((size, stages, agents))  # return from each stage on
    first = np.zeros((size, stages), bool)
    for k in reversed(range(count)):
        rows = np.flatnonzero(arrays.valid[:, k])
        at[rows, arrays.stage[rows, k]] = returns[rows, k]
        first[rows, arrays.stage[rows, k]] = True
    total = np.zeros((int(groups.max()) + 1, stages, agents))
    np.add.at(total, groups, at)
    others = np.bincount(groups)[groups] - 1
    if (others < 1).any():
        raise ValueError("a group of one has no others to compare with: deal each group at least twice")
    mean = (total[groups] - at) / others[:, None, None]
    stage = np.minimum(arrays.stage, stages - 1)
    return _ended(np.take_along_axis(mean, stage[..., None], 1))


def agent_turn(arrays: EpisodeArrays, contexts: NDArray[np.int64]) -> Array:
    """Other replies of the same agent to the very same prompt (AT-GRPO, Zhao et al. 2025; GiGPO's anchor states).

    V_k = the mean return of the others from there on; a prompt that occurs once teaches nothing: V_k = G_k.
    contexts: [E, K] equal numbers for equal prompts, see `prompts`.
    """
    check_shape("contexts", contexts, "E, K", arrays.actor.shape)
    returns = to_go(arrays)
    value = returns.copy()
    valid = arrays.valid
    own = np.take_along_axis(returns, np.maximum(arrays.actor, 0)[..., None], -1)[..., 0]
    _, prompt = np.unique(contexts[valid], return_inverse=True)
    count, total = np.bincount(prompt), np.bincount(prompt, own[valid])
    several = count[prompt] > 1
    mean = np.where(several, (total[prompt] - own[valid]) / np.maximum(count[prompt] - 1, 1), own[valid])
    e, k = np.nonzero(valid)
    value[e, k, arrays.actor[valid]] = mean
    return _ended(value)


def prompts(episodes: Sequence[Episode], decisions: int) -> NDArray[np.int64]:
    """Number the prompts of all decisions [E, K]: equal where an agent had perceived and replied the very same."""
    numbers: dict[tuple[object, ...], int] = {}  # a tree of histories: (number of the history before, next envelope)
    contexts = np.full((len(episodes), decisions), -1, np.int64)
    for e, episode in enumerate(episodes):
        decision_of = {turn.seq: k for k, turn in enumerate(episode.turns)}
        for agent, view in episode.log.views(episode.agents).items():
            history = numbers.setdefault((agent,), len(numbers))
            for envelope in view:
                if envelope.sender == agent and envelope.seq in decision_of:
                    contexts[e, decision_of[envelope.seq]] = history
                history = numbers.setdefault((history, *_perceived(envelope)), len(numbers))
    return contexts


def _perceived(envelope: Envelope) -> tuple[object, ...]:
    return envelope.sender, envelope.kind, envelope.to, envelope.body


def role(arrays: EpisodeArrays, running: Mapping[int, float]) -> Array:
    """Running mean of each role's return, from before this update (RAE; SPIRAL, Liu et al. 2025)."""
    size, count, agents = arrays.rewards.shape
    value = np.zeros((size, count, agents))
    value += np.array([running.get(i, 0.0) for i in range(agents)])
    return _ended(value)


def _ended(values: Array) -> Array:
    """Append the value after the last decision: 0."""
    return np.concatenate([values, np.zeros_like(values[:, :1])], 1)
