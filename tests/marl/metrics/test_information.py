from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from marl.metrics.information import (
    NATS,
    codes,
    conditional_mutual_information,
    entropy,
    entropy_corrected,
    joint,
    mutual_information,
    mutual_information_corrected,
    per_position,
    permutation_null,
)

Codes = NDArray[np.int64]
samples = st.lists(st.integers(0, 5), min_size=1, max_size=60).map(codes)


def independent(x: int, y: int, size: int, seed: int = 0) -> tuple[Codes, Codes]:
    rng = np.random.default_rng(seed)
    return rng.integers(x, size=size), rng.integers(y, size=size)


@given(samples)
def test_entropy_is_that_of_the_counts(x: Codes) -> None:
    assert entropy(x) == pytest.approx(float(stats.entropy(np.bincount(x), base=2)), abs=1e-12)


def test_entropy_of_known_distributions() -> None:
    assert entropy(codes("abcdefgh")) == pytest.approx(3)
    assert entropy(codes("aaaa")) == 0
    assert entropy(codes("aabc")) == pytest.approx(1.5)
    assert entropy(codes("")) == 0


def test_per_position_entropy_counts_a_missing_symbol_as_one() -> None:
    messages = [("m0", "m1"), ("m1",), ("m0", "m1"), ("m1",)]
    assert per_position(messages) == pytest.approx([1, 1])
    assert per_position([]) == []
    assert per_position([(), ()]) == []


@given(samples)
def test_a_variable_shares_its_entropy_with_itself(x: Codes) -> None:
    assert mutual_information(x, x) == pytest.approx(entropy(x))
    assert mutual_information(x, np.zeros_like(x)) == pytest.approx(0, abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_mutual_information_is_symmetric_and_bounded(pairs: list[tuple[int, int]]) -> None:
    x, y = (codes(side) for side in zip(*pairs, strict=True))
    shared = mutual_information(x, y)
    assert shared == pytest.approx(mutual_information(y, x), abs=1e-12)
    assert 0 <= shared <= min(entropy(x), entropy(y)) + 1e-9


def test_mutual_information_agrees_with_the_sum_over_cells() -> None:
    x, y = independent(3, 4, 200)
    table = np.zeros((3, 4))
    np.add.at(table, (x, y), 1 / 200)
    cells = table * np.log2(table / np.outer(table.sum(1), table.sum(0)))
    assert mutual_information(x, y) == pytest.approx(float(cells.sum()))


def test_independent_variables_seem_to_share_information_until_corrected() -> None:
    """50 messages, 5 actions, 1000 samples: the plug-in finds 0.16 bits where there are none."""
    x, y = independent(50, 5, 1000)
    predicted = 49 * 4 / 2000 / NATS
    assert mutual_information(x, y) == pytest.approx(predicted, abs=0.03)
    assert abs(mutual_information_corrected(x, y)) < 0.03
    null = permutation_null(lambda order: mutual_information(x[order], y), 1000, permutations=50)
    assert null is not None
    assert null.value == pytest.approx(null.null.mean, abs=0.03)
    assert null.null.p > 0.05


def test_few_samples_of_independent_variables_are_within_the_null() -> None:
    """100 samples of 10 messages and 5 actions, many times: the plug-in says 0.2 nats, and so does chance."""
    values, by_chance, beyond = [], [], 0
    for seed in range(60):
        x, y = independent(10, 5, 100, seed)

        def shared(order: Codes, x: Codes = x, y: Codes = y) -> float:
            return mutual_information(x[order], y)

        null = permutation_null(shared, 100, permutations=60)
        assert null is not None
        values.append(shared(np.arange(100)) * NATS)
        by_chance.append(null.null.mean * NATS)
        beyond += null.null.p < 0.05
    assert np.mean(values) == pytest.approx(0.2, abs=0.03)
    assert np.mean(values) - np.mean(by_chance) == pytest.approx(0, abs=0.015)
    assert beyond <= 8  # 3 are due; more than 8 come by chance once in 500


def test_the_correction_leaves_real_information() -> None:
    x, _ = independent(8, 2, 2000)
    noise = np.random.default_rng(1).random(2000) < 0.1
    y = np.where(noise, (x + 1) % 8, x)
    true = 3 - float(stats.entropy([0.9, 0.1], base=2))
    assert mutual_information_corrected(x, y) == pytest.approx(true, abs=0.05)
    null = permutation_null(lambda order: mutual_information(x[order], y), 2000, permutations=50)
    assert null is not None
    assert null.null.p == pytest.approx(1 / 51)


def test_miller_madow_adds_half_a_nat_per_value_and_sample() -> None:
    assert entropy_corrected(codes("aabb")) == pytest.approx(1 + 1 / 8 / NATS)
    assert entropy_corrected(codes("aaaa")) == 0
    assert entropy_corrected(codes("")) == 0


def test_information_that_only_a_context_brings_out() -> None:
    x, y = (codes(side) for side in zip(*product((0, 1), repeat=2), strict=True))
    parity = x ^ y
    assert mutual_information(x, parity) == pytest.approx(0)
    assert conditional_mutual_information(x, parity, y) == pytest.approx(1)
    assert conditional_mutual_information(x, x, x) == 0
    assert len(set(joint(x, y))) == 4


def test_a_statistic_without_a_value_has_no_null() -> None:
    assert permutation_null(lambda order: None, 5) is None


def test_a_null_is_reproducible_and_never_certain() -> None:
    x = codes("aabbccdd")
    first, again = (permutation_null(lambda order: mutual_information(x[order], x), 8, seed=3) for _ in range(2))
    assert first == again
    assert first is not None
    assert 0 < first.null.p <= 1
