"""Baselines that need no critic, as tables of values [E, K + 1, N] for Monte Carlo credit: pure functions.

A baseline may depend on anything but the reply it is for and what came of it: then it changes the variance of a policy
gradient and not its mean. So every mean here leaves the episode itself out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from marl.credit.arrays import Array, Ledger
from marl.credit.estimators import lambda_advantage
from marl.episode import Episode
from protocols.envelope import Envelope


def to_go(book: Ledger) -> Array:
    """G_k = sum_{l >= k} (discounted r_l), for every agent: [E, K, N]."""
    size, count, agents = book.rewards.shape
    return lambda_advantage(book, np.zeros((size, count + 1, agents)), 1.0)


def group(book: Ledger, groups: NDArray[np.int64]) -> Array:
    """Other episodes of the same deal (MAGRPO, Liu et al. 2025): their mean return from the same stage on.

    V_k = 1/(G - 1) sum_{e' != e} G_e'(stage of k), with 0 for an episode that was over by then. groups: [E].
    """
    returns = to_go(book)
    size, count, agents = returns.shape
    stages = int(book.stage[book.valid].max()) + 1
    at = np.zeros((size, stages, agents))  # return from each stage on
    first = np.zeros((size, stages), bool)
    for k in reversed(range(count)):
        rows = np.flatnonzero(book.valid[:, k])
        at[rows, book.stage[rows, k]] = returns[rows, k]
        first[rows, book.stage[rows, k]] = True
    total = np.zeros((int(groups.max()) + 1, stages, agents))
    np.add.at(total, groups, at)
    others = np.bincount(groups)[groups] - 1
    if (others < 1).any():
        raise ValueError("a group of one has no others to compare with: deal each group at least twice")
    mean = (total[groups] - at) / others[:, None, None]
    stage = np.minimum(book.stage, stages - 1)
    return _ended(np.take_along_axis(mean, stage[..., None], 1))


def agent_turn(book: Ledger, contexts: NDArray[np.int64]) -> Array:
    """Other replies of the same agent to the very same prompt (AT-GRPO, Zhao et al. 2025; GiGPO's anchor states).

    V_k = the mean return from there on of the others; a prompt that occurs once teaches nothing: V_k = G_k.
    contexts: [E, K] equal numbers for equal prompts, see `prompts`.
    """
    returns = to_go(book)
    value = returns.copy()
    valid = book.valid
    own = np.take_along_axis(returns, np.maximum(book.actor, 0)[..., None], -1)[..., 0]
    _, place = np.unique(contexts[valid], return_inverse=True)
    count, total = np.bincount(place), np.bincount(place, own[valid])
    several = count[place] > 1
    mean = np.where(several, (total[place] - own[valid]) / np.maximum(count[place] - 1, 1), own[valid])
    e, k = np.nonzero(valid)
    value[e, k, book.actor[valid]] = mean
    return _ended(value)


def prompts(episodes: Sequence[Episode], decisions: int) -> NDArray[np.int64]:
    """Return [E, K] a number for each decision, the same where an agent had perceived and replied the very same."""
    known: dict[tuple[object, ...], int] = {}
    found = np.full((len(episodes), decisions), -1, np.int64)
    for e, episode in enumerate(episodes):
        place = {turn.seq: k for k, turn in enumerate(episode.turns)}
        for agent, view in episode.log.views(episode.agents).items():
            at = known.setdefault((agent,), len(known))
            for envelope in view:
                if envelope.sender == agent and envelope.seq in place:
                    found[e, place[envelope.seq]] = at
                at = known.setdefault((at, *_perceived(envelope)), len(known))
    return found


def _perceived(envelope: Envelope) -> tuple[object, ...]:
    return envelope.sender, envelope.kind, envelope.to, envelope.body


def role(book: Ledger, running: Mapping[int, float]) -> Array:
    """A running mean of each role's return, as it stood before this update (RAE; SPIRAL, Liu et al. 2025)."""
    size, count, agents = book.rewards.shape
    value = np.zeros((size, count, agents))
    value += np.array([running.get(i, 0.0) for i in range(agents)])
    return _ended(value)


def _ended(values: Array) -> Array:
    """Add the slot after the last decision, where there is nothing left."""
    return np.concatenate([values, np.zeros_like(values[:, :1])], 1)
