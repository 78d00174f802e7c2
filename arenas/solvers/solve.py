"""Best responses, exploitability and equilibria of an arena's extensive form, exactly or to any precision.

tree = extensive(make("leduc"))
exploitability(tree, tree.policy(script))
"""

from __future__ import annotations

import numpy as np

from arenas.errors import ArenaError
from arenas.solvers.tree import Floats, Tree


def worth(tree: Tree, policy: Floats, seat: int) -> Floats:
    """Return each column's counterfactual value over the ends that follow it directly: [A + 1].

    The value of an end is its return to the seat, times the probabilities of chance and of the other seats. "Directly"
    means without another reply of the seat; the last entry is for ends before its first one.
    """
    others = np.delete(np.arange(len(tree.seats)), seat)
    weight = tree.chance * tree.plan(policy)[tree.last[:, others]].prod(1) * tree.returns[:, seat]
    last = tree.last[:, seat]
    total = np.bincount(np.where(last < 0, tree.offset[-1], last), weight, int(tree.offset[-1]) + 1)
    return total.astype(np.float64)


def best_response(tree: Tree, policy: Floats, seat: str) -> tuple[float, Floats]:
    """Return a seat's best-response value against a policy, and the policy with its best replies.

    Backward over the seat's information sets: the best column's value is added to the column before it. Ties go to the
    first reply, also in information sets that the others never reach.
    """
    number = tree.seats.index(seat)
    value = worth(tree, policy, number)
    best = policy.copy()
    for low, high in zip(tree.level[-2::-1], tree.level[:0:-1], strict=True):
        for i in np.flatnonzero(tree.owner[low:high] == number) + low:
            columns = slice(tree.offset[i], tree.offset[i + 1])
            top = int(value[columns].argmax())
            best[columns] = 0.0
            best[tree.offset[i] + top] = 1.0
            value[tree.before[i]] += value[tree.offset[i] + top]
    return float(value[-1]), best


def nash_conv(tree: Tree, policy: Floats) -> float:
    """NashConv: the sum over seats of the gain by a best response; 0 at a Nash equilibrium (Lanctot et al. 2017)."""
    gains = [best_response(tree, policy, seat)[0] for seat in tree.seats] - tree.expected(policy)
    return float(gains.sum())


def exploitability(tree: Tree, policy: Floats) -> float:
    """Exploitability: NashConv / N; in zero-sum games of two seats, the mean gain of best replies over the policy."""
    return nash_conv(tree, policy) / len(tree.seats)


def cfr_plus(tree: Tree, iterations: int) -> Floats:
    """Approximate an equilibrium of a two-seat constant-sum game by CFR+ (Tammelin 2014).

    Seats take turns; cumulative regrets never fall below 0; the average weighs iteration t by t. A seat's regret for
    a reply is the value of its column and all that follows, less that of its information set under the current policy.
    Raises ArenaError for any other game.
    """
    total = tree.returns.sum(1)
    if len(tree.seats) != 2 or np.ptp(total) > 1e-9:
        raise ArenaError("cfr_plus needs two seats whose returns always have the same sum")
    policy, regret = tree.uniform(), np.zeros(int(tree.offset[-1]))
    average = np.zeros_like(regret)
    for t in range(1, iterations + 1):
        for seat in range(2):
            own = tree.seat_of == seat
            value = worth(tree, policy, seat)
            regret = np.where(own, np.maximum(regret + _advantages(tree, policy, value), 0), regret)
            policy = np.where(own, _normalised(tree, regret), policy)
        average += t * tree.plan(policy)[:-1]
    return _normalised(tree, average)


def _advantages(tree: Tree, policy: Floats, value: Floats) -> Floats:
    """Return each column's value with all that follows it, less its set's under the policy: [A]; changes `value`."""
    advantage = np.empty_like(policy)
    for low, high in zip(tree.level[-2::-1], tree.level[:0:-1], strict=True):
        columns = slice(tree.offset[low], tree.offset[high])
        starts = tree.offset[low:high] - tree.offset[low]
        mean = np.add.reduceat(value[columns] * policy[columns], starts)
        advantage[columns] = value[columns] - mean[tree.set_of[columns] - low]
        np.add.at(value, tree.before[low:high], mean)
    return advantage


def _normalised(tree: Tree, weights: Floats) -> Floats:
    """Normalise weights to probabilities per information set, uniform ones where all are 0: [A]."""
    total = np.add.reduceat(weights, tree.offset[:-1])[tree.set_of]
    return np.where(total > 0, weights / np.where(total > 0, total, 1), tree.uniform())
