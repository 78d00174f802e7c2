"""Statistics over few runs: interquartile mean, improvement, effect sizes, multiple testing, bootstrap intervals.

After Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice" (rliable). Scores come
as one array for each task, with a number for each run: the strata. A bootstrap sample draws as many runs as there are,
with replacement, within each task, so that every task keeps its weight; tasks themselves are never drawn. Intervals are
percentile intervals. With few runs they are too narrow: five runs hold little, and ten are the field's least.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marl.metrics.measure import Interval
from protocols.draws import key

Array = NDArray[np.float64]
Strata = Sequence[ArrayLike]
"""For each task the scores of its runs: [R], or [R, P] if every run was measured at P points."""
REPLICATIONS: Final = 50_000
CURVE_REPLICATIONS: Final = 2_000
"""Bootstrap samples for a figure and for a curve, as rliable has them."""
LEVEL: Final = 0.95


class Estimate(NamedTuple):
    """An estimate and the ends of its interval."""

    value: float
    low: float
    high: float


def interquartile_mean(scores: ArrayLike, axis: int = 0) -> Array:
    """Interquartile mean (IQM): the mean of the middle half.

    Of n scores floor(n / 4) are left out at either end, as `scipy.stats.trim_mean(scores, 0.25)` does.
    """
    ordered = np.sort(np.asarray(scores, np.float64), axis)
    n = ordered.shape[axis]
    cut = n // 4
    return np.asarray(np.take(ordered, range(cut, n - cut), axis).mean(axis))


def improvement(ours: ArrayLike, theirs: ArrayLike) -> Array:
    """P(X > Y) + P(X = Y) / 2 over all pairs of runs: the Mann-Whitney statistic over its largest value.

    Args:
        ours: X, [..., R] scores of runs on one task.
        theirs: Y, [..., S].
    """
    x, y = np.asarray(ours, np.float64)[..., :, None], np.asarray(theirs, np.float64)[..., None, :]
    return np.asarray(((x > y) + 0.5 * (x == y)).mean((-2, -1)))


def iqm(scores: Strata, seed: int = 0, *, replications: int = REPLICATIONS, level: float = LEVEL) -> Estimate:
    """IQM over all runs of all tasks, with its interval. Scores of several tasks must be on one scale.

    Raises ValueError for a task without runs, as all functions here do.
    """
    tasks = _arrays(scores)
    (drawn,) = _samples([tasks], seed, replications)
    return _estimate(interquartile_mean(np.concatenate(tasks)), interquartile_mean(np.concatenate(drawn, 1), 1), level)


def iqm_curve(
    scores: Strata, seed: int = 0, *, replications: int = CURVE_REPLICATIONS, level: float = LEVEL
) -> list[Estimate]:
    """IQM at each of P points, from [R, P] arrays. Whole runs are drawn, so that points next to each other agree."""
    tasks = _arrays(scores)
    (drawn,) = _samples([tasks], seed, replications)
    means = interquartile_mean(np.concatenate(tasks))
    sampled = interquartile_mean(np.concatenate(drawn, 1), 1)  # [B, P]
    return [_estimate(means[p], sampled[:, p], level) for p in range(len(means))]


def optimality_gap(
    scores: Strata, seed: int = 0, *, best: float = 1.0, replications: int = REPLICATIONS, level: float = LEVEL
) -> Estimate:
    """Mean over all runs of best - min(score, best): what is missing, where more than the best does not count."""
    tasks = [best - np.minimum(task, best) for task in _arrays(scores)]
    (drawn,) = _samples([tasks], seed, replications)
    return _estimate(np.concatenate(tasks).mean(), np.concatenate(drawn, 1).mean(1), level)


def probability_of_improvement(
    ours: Strata, theirs: Strata, seed: int = 0, *, replications: int = REPLICATIONS, level: float = LEVEL
) -> Estimate:
    """Probability that a run of ours scores more than one of theirs on the same task; ties count half; mean over tasks.

    The two are drawn independently of each other, also where they share seeds. Raises ValueError unless both have the
    same tasks.
    """
    x, y = _arrays(ours), _arrays(theirs)
    if len(x) != len(y):
        raise ValueError(f"both need scores of the same tasks, not {len(x)} and {len(y)}")
    probability = np.mean([improvement(a, b) for a, b in zip(x, y, strict=True)])
    drawn_x, drawn_y = _samples([x, y], seed, replications)
    sampled = np.mean([_in_parts(improvement, a, b) for a, b in zip(drawn_x, drawn_y, strict=True)], 0)
    return _estimate(probability, sampled, level)


def mean_interval(
    values: ArrayLike, seed: int = 0, *, of: str, replications: int = CURVE_REPLICATIONS, level: float = LEVEL
) -> Interval | None:
    """Return the percentile bootstrap interval of the mean of independent values; None for fewer than two.

    Of values that are all the same the interval is a point, which says that nothing else was seen, not that nothing
    else can be.
    """
    sample = np.asarray(values, np.float64)
    if len(sample) < 2:
        return None
    (drawn,) = _samples([[sample]], seed, replications)
    estimate = _estimate(sample.mean(), drawn[0].mean(1), level)
    return Interval(low=estimate.low, high=estimate.high, level=level, of=of)


def hedges_g(ours: ArrayLike, theirs: ArrayLike) -> float | None:
    """Standardised difference of means (Hedges 1981): (mean X - mean Y) / s, s pooled, times 1 - 3 / (4 (R + S) - 9).

    Below 0.2 it is called small, above 0.8 large. None with fewer than two runs on a side, or runs that are all equal.
    """
    x, y = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if min(len(x), len(y)) < 2:
        return None
    freedom = len(x) + len(y) - 2
    pooled = np.sqrt(((len(x) - 1) * x.var(ddof=1) + (len(y) - 1) * y.var(ddof=1)) / freedom)
    return float((x.mean() - y.mean()) / pooled * (1 - 3 / (4 * freedom - 1))) if pooled > 1e-12 else None


def cliffs_delta(ours: ArrayLike, theirs: ArrayLike) -> float:
    """P(X > Y) - P(X < Y) over all pairs, from -1 to 1 (Cliff 1993); needs no scale and no normal distribution."""
    return 2 * float(improvement(ours, theirs)) - 1


def holm(p: ArrayLike) -> Array:
    """Adjust p-values to control the family-wise error rate (Holm 1979)."""
    values = np.asarray(p, np.float64)
    order = np.argsort(values)
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(steps, 1)
    return adjusted


def benjamini_hochberg(p: ArrayLike) -> Array:
    """Adjust p-values to control the false discovery rate (Benjamini & Hochberg 1995)."""
    values = np.asarray(p, np.float64)
    order = np.argsort(values)[::-1]
    steps = np.minimum.accumulate(values[order] * len(values) / np.arange(len(values), 0, -1))
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(steps, 1)
    return adjusted


def _arrays(scores: Strata) -> list[Array]:
    tasks = [np.asarray(task, np.float64) for task in scores]
    if not tasks or any(len(task) == 0 for task in tasks):
        raise ValueError("statistics need at least one run of each task")
    return tasks


def _samples(sides: Sequence[Sequence[Array]], seed: int, replications: int) -> list[list[Array]]:
    """Return bootstrap samples [B, R, ...] of each task of each side.

    The draws of a task have its place as coordinates, so that they do not change when tasks are added.
    """
    drawn: list[list[Array]] = []
    for side, tasks in enumerate(sides):
        drawn.append([])
        for place, task in enumerate(tasks):
            rng = np.random.default_rng(key(seed, "bootstrap", side, place))
            drawn[-1].append(task[rng.integers(len(task), size=(replications, len(task)))])
    return drawn


def _in_parts(statistic: Callable[[Array, Array], Array], x: Array, y: Array) -> Array:
    """Apply a statistic of pairs to chunks of samples, to bound memory."""
    part = max(2**22 // (x.shape[1] * y.shape[1]), 1)
    return np.concatenate([statistic(x[i : i + part], y[i : i + part]) for i in range(0, len(x), part)])


def _estimate(value: ArrayLike, sampled: Array, level: float) -> Estimate:
    low, high = np.quantile(sampled, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(np.asarray(value)), float(low), float(high))
