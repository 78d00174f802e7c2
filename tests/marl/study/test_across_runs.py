from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from marl.metrics.measure import measured, undefined
from marl.metrics.statistics import benjamini_hochberg, cliffs_delta, hedges_g, holm, mean_interval
from marl.study import across_runs
from marl.study.data.result import RunStudy
from marl.study.language import summary as language
from tests.marl.study.languages import COMPOSITIONAL, spoken

chances = st.lists(st.floats(0, 1), min_size=1, max_size=12)
scores = st.lists(st.integers(0, 20).map(float), min_size=2, max_size=8)


@given(chances)
def test_benjamini_hochberg_is_scipys(p: list[float]) -> None:
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))


@given(chances)
def test_holm_lies_between_p_and_bonferroni_and_keeps_the_order(p: list[float]) -> None:
    corrected = holm(p)
    assert (corrected >= np.array(p) - 1e-12).all()
    assert (corrected <= np.minimum(np.array(p) * len(p), 1) + 1e-12).all()
    assert (np.diff(corrected[np.argsort(p)]) >= -1e-12).all()


def test_holm_on_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(scores, scores)
def test_effect_sizes_change_sign_with_the_sides(x: list[float], y: list[float]) -> None:
    assert cliffs_delta(x, y) == pytest.approx(-cliffs_delta(y, x))
    assert -1 <= cliffs_delta(x, y) <= 1
    ours, theirs = hedges_g(x, y), hedges_g(y, x)
    assert (ours is None) == (theirs is None) == (np.ptp(x) == 0 and np.ptp(y) == 0)
    if ours is not None and theirs is not None:
        assert ours == pytest.approx(-theirs)


def test_hedges_g_on_a_worked_example() -> None:
    """Means 3 and 1, both variances 1, 6 + ... : d = 2, corrected by 1 - 3 / (4 * 4 - 1)."""
    assert hedges_g([2, 3, 4], [0, 1, 2]) == pytest.approx(2 * (1 - 3 / 15))
    assert hedges_g([1], [0, 1, 2]) is None


def test_the_interval_of_a_mean_is_near_the_textbooks() -> None:
    values = np.random.default_rng(0).normal(5, 2, 200)
    interval = mean_interval(values, of="bootstrap over 200 values")
    assert interval is not None
    half = 1.96 * values.std() / 200**0.5
    assert (interval.low, interval.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.05)
    assert mean_interval([1.0], of="one") is None


def run(seed: int, score: float, extra: float | None = None) -> RunStudy:
    figures = [
        measured("score", score, n=1),
        undefined("extra", "none") if extra is None else measured("extra", extra, n=1),
    ]
    return RunStudy(
        name=f"r{seed}", source=f"r{seed}", episodes=1, scores={measure.name: measure for measure in figures}
    )


def test_runs_are_pooled_by_the_interquartile_mean() -> None:
    pooled = across_runs.pooled([run(i, score) for i, score in enumerate([0, 1, 1, 1, 2, 2, 2, 100])])
    assert pooled["score"].value == 1.5
    assert pooled["score"].n == 8
    assert "extra" not in pooled
    assert across_runs.pooled([run(0, 1)]) == {}
    some = across_runs.pooled([run(0, 1, 3), run(1, 1, 5), run(2, 1)])["extra"]
    assert some.value == 4
    assert some.note == "interquartile mean of 2 runs; the other 1 have none"


def test_groups_that_differ_are_told_from_groups_that_do_not() -> None:
    rng = np.random.default_rng(1)
    ours = [run(i, 1 + 0.1 * rng.normal(), rng.normal()) for i in range(6)]
    theirs = [run(i, 0.1 * rng.normal(), rng.normal()) for i in range(6)]
    first, second = across_runs.compare(ours, theirs)
    assert (first.name, second.name) == ("score", "extra")
    assert first.difference == pytest.approx(1, abs=0.15)
    assert first.cliffs_delta == 1
    assert first.hedges_g is not None
    assert first.hedges_g > 3
    assert first.p < first.q < 0.02
    assert second.p > 0.05


def test_every_test_of_a_run_is_adjusted_for_all_of_them() -> None:
    measured = language.measure(spoken(COMPOSITIONAL), permutations=99)
    adjusted = across_runs.adjusted(RunStudy(name="r", source="r", episodes=16, languages=[measured]))
    tables = [adjusted.languages[0].measures, *adjusted.languages[0].positions]
    nulls = [measure.null for table in tables for measure in table.values() if measure.null is not None]
    assert len(nulls) > 10
    expected = benjamini_hochberg([null.p for null in nulls])
    assert [null.q for null in nulls] == pytest.approx(expected.tolist())
    assert adjusted.languages[0].pairs == measured.pairs
