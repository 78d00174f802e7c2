from __future__ import annotations

from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from marl.metrics.statistics import (
    Estimate,
    improvement,
    interquartile_mean,
    iqm,
    iqm_curve,
    optimality_gap,
    probability_of_improvement,
)

numbers = st.floats(-1e3, 1e3, allow_subnormal=False)
runs = st.lists(numbers, min_size=1, max_size=12)
tasks = st.lists(runs, min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("scores", "mean"),
    [
        ([3.0], 3.0),
        ([0.0, 1.0, 2.0], 1.0),  # fewer than four: all of them
        ([9.0, 1.0, 2.0, -50.0], 1.5),  # -50 | 1 2 | 9
        ([0.0, 0.0, 0.5, 0.5, 0.5, 0.75, 0.75, 1.0, 1.0, 1.0], 4 / 6),  # two at either end are left out
        ([1.0] * 6 + [0.0] * 2, 1.0),
    ],
)
def test_the_interquartile_mean_by_hand(scores: list[float], mean: float) -> None:
    assert interquartile_mean(scores) == pytest.approx(mean)
    assert iqm([scores], replications=10).value == pytest.approx(mean)


@given(runs)
def test_the_interquartile_mean_is_the_trimmed_mean_of_scipy(scores: list[float]) -> None:
    assert interquartile_mean(scores) == pytest.approx(stats.trim_mean(scores, 0.25), abs=1e-9)


@given(tasks, st.randoms(use_true_random=False))
def test_tasks_are_pooled_and_neither_order_nor_scale_matters(scores: list[list[float]], random: object) -> None:
    pooled = [score for task in scores for score in task]
    estimate = iqm(scores, replications=50)
    assert estimate.value == pytest.approx(stats.trim_mean(pooled, 0.25), abs=1e-9)
    scaled = iqm([[2 * score - 1 for score in task] for task in scores], replications=50)
    assert scaled == pytest.approx([2 * bound - 1 for bound in estimate], abs=1e-6)
    assert iqm([sorted(task) for task in scores], replications=50).value == pytest.approx(estimate.value, abs=1e-9)


@given(runs, runs)
def test_improvement_is_the_statistic_of_mann_and_whitney(ours: list[float], theirs: list[float]) -> None:
    u = stats.mannwhitneyu(ours, theirs, alternative="greater", method="asymptotic").statistic
    assert improvement(ours, theirs) == pytest.approx(u / (len(ours) * len(theirs)))
    assert improvement(ours, theirs) == pytest.approx(1 - improvement(theirs, ours))
    assert improvement(ours, ours) == pytest.approx(0.5)


def test_improvement_by_hand() -> None:
    # (2 > 1), (2 = 2), (2 < 3), (3 > 1), (3 > 2), (3 = 3): 3 + 2 / 2 of 6
    assert improvement([2, 3], [1, 2, 3]) == pytest.approx(4 / 6)
    estimate = probability_of_improvement([[2, 3], [5]], [[1, 2, 3], [6]], replications=100)
    assert estimate.value == pytest.approx((4 / 6 + 0) / 2)
    assert probability_of_improvement([[5, 6, 7]], [[1, 2]], replications=100) == (1.0, 1.0, 1.0)


def test_the_optimality_gap_by_hand() -> None:
    # what is missing to 1: 1, 0.5, 0 (1.5 does not make up for others)
    assert optimality_gap([[0.0, 0.5], [1.5]], replications=100).value == pytest.approx(1.5 / 3)
    assert optimality_gap([[3.0], [2.0]], best=4.0, replications=10) == pytest.approx([1.5, 1.5, 1.5])


def test_the_interval_is_that_of_all_samples_there_are() -> None:
    """Two runs, 0 and 1: the mean of a sample is 0, 1/2, 1 with chances 1/4, 1/2, 1/4. Ten runs: binomial."""
    assert iqm([[0.0, 1.0]]) == Estimate(0.5, 0.0, 1.0)
    assert iqm([[0.0, 1.0]], level=0.4) == Estimate(0.5, 0.5, 0.5)
    # 7 of 10 runs are 1. Their interquartile mean is that of a binomial count m: (min(m, 8) - 2) / 6 within 0 and 1.
    chances = [comb(10, m) * 0.7**m * 0.3 ** (10 - m) for m in range(11)]
    values = [min(max((m - 2) / 6, 0.0), 1.0) for m in range(11)]
    low, high = (next(v for v, c in zip(values, np.cumsum(chances), strict=True) if c >= q) for q in (0.025, 0.975))
    assert iqm([[1.0] * 7 + [0.0] * 3]) == pytest.approx([5 / 6, low, high])


def test_runs_are_drawn_within_their_task() -> None:
    """Each task has runs that are all equal, so no sample differs; drawn over tasks, samples would."""
    assert iqm([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]], replications=500) == (0.5, 0.5, 0.5)
    assert optimality_gap([[0.0, 0.0], [1.0]], replications=500) == pytest.approx([2 / 3] * 3)
    # Two tasks with two runs each: all sixteen samples, against the quantiles of the estimate.
    tasks = ([0.0, 1.0], [2.0, 5.0])
    exact = [
        float(stats.trim_mean([*one, *other], 0.25))
        for one in product(tasks[0], repeat=2)
        for other in product(tasks[1], repeat=2)
    ]
    estimate = iqm(tasks, level=0.75)
    assert estimate.low == np.quantile(exact, 0.125, method="inverted_cdf")
    assert estimate.high == np.quantile(exact, 0.875, method="inverted_cdf")


@given(tasks, st.integers(0, 5))
def test_intervals_lie_within_the_scores_and_repeat(scores: list[list[float]], seed: int) -> None:
    estimate = iqm(scores, seed, replications=200)
    pooled = [score for task in scores for score in task]
    assert min(pooled) - 1e-9 <= estimate.low <= estimate.high <= max(pooled) + 1e-9
    assert estimate == iqm(scores, seed, replications=200)
    wider = iqm(scores, seed, replications=200, level=0.99)
    assert wider.low <= estimate.low <= estimate.high <= wider.high


def test_another_seed_draws_other_samples_and_more_tasks_leave_draws_alone() -> None:
    rng = np.random.default_rng(3)
    scores = rng.normal(size=30)
    assert iqm([scores], 1, replications=100) != iqm([scores], 2, replications=100)
    # A second task whose runs are all equal moves nothing but the pool; a mean shows it.
    alone = optimality_gap([scores], best=9.0, replications=100)
    both = optimality_gap([scores, [8.0] * 30], best=9.0, replications=100)
    assert both == pytest.approx([(bound + 1.0) / 2 for bound in alone])


def test_intervals_cover_what_they_claim() -> None:
    """Of 200 intervals around the mean of 40 normal scores, about 190 hold the true one."""
    rng = np.random.default_rng(0)
    held = sum(e.low <= 0 <= e.high for e in (iqm([rng.normal(size=40)], replications=400) for _ in range(200)))
    assert 180 <= held <= 198
    pairs = ((rng.normal(0.5, 1, 40), rng.normal(size=40)) for _ in range(200))
    truth = float(stats.norm.cdf(0.5 / 2**0.5))
    estimates = [probability_of_improvement([x], [y], replications=400) for x, y in pairs]
    assert 180 <= sum(e.low <= truth <= e.high for e in estimates) <= 198


def test_a_curve_is_the_interquartile_mean_of_whole_runs_at_each_point() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(10, 3))
    curve = iqm_curve([values, values[:5]])
    assert [point.value for point in curve] == pytest.approx(
        [float(stats.trim_mean(np.concatenate([values, values[:5]])[:, p], 0.25)) for p in range(3)]
    )
    # The same column at two points has the same interval at both: the same runs are drawn for all points.
    first, second = iqm_curve([np.stack([values[:, 0]] * 2, 1)])
    assert first == second


def test_nothing_to_measure_is_an_error() -> None:
    nothing: tuple[list[list[float]], ...] = ([], [[]], [[1.0], []])
    for scores in nothing:
        with pytest.raises(ValueError, match="at least one run"):
            iqm(scores)
    with pytest.raises(ValueError, match="same tasks"):
        probability_of_improvement([[1.0]], [[1.0], [2.0]])
