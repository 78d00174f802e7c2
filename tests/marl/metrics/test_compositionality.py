from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from marl.metrics.compositionality import (
    Topography,
    bag_disentanglement,
    hamming,
    levenshtein,
    positional_disentanglement,
    spearman,
    topographic_similarity,
)
from marl.metrics.information import permutation_null

Words = tuple[str, ...]
MEANINGS: list[Words] = [(f"a{i}", f"b{j}") for i, j in product(range(4), range(4))]
COMPOSITIONAL: list[Words] = [(f"m{a[1]}", f"n{b[1]}") for a, b in MEANINGS]
SAME_SYMBOLS: list[Words] = [(f"m{a[1]}", f"m{b[1]}") for a, b in MEANINGS]
BAG: list[Words] = [m if i % 5 % 2 else m[::-1] for i, m in enumerate(COMPOSITIONAL)]
CONSTANT: list[Words] = [("m0", "m0")] * 16
HOLISTIC: list[Words] = [COMPOSITIONAL[i] for i in np.random.default_rng(5).permutation(16)]
words = st.lists(st.sampled_from("abc"), max_size=6).map(tuple)


def edits(a: Sequence[str], b: Sequence[str]) -> int:
    """The edit distance by its definition."""

    @lru_cache
    def between(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(between(i - 1, j) + 1, between(i, j - 1) + 1, between(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    return between(len(a), len(b))


@given(words, words)
def test_levenshtein_is_the_edit_distance_over_the_mean_length(a: Words, b: Words) -> None:
    expected = 2 * edits(a, b) / (len(a) + len(b)) if a or b else 0
    assert levenshtein(a, b) == pytest.approx(expected)
    assert levenshtein(a, b) == levenshtein(b, a)


def test_hamming_counts_what_only_one_has_as_different() -> None:
    assert hamming("abc", "abd") == pytest.approx(1 / 3)
    assert hamming("ab", "abcd") == pytest.approx(1 / 2)
    assert hamming("", "") == 0


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=40))
def test_spearman_is_scipys_with_ties(pairs: list[tuple[int, int]]) -> None:
    x, y = (np.array(side, float) for side in zip(*pairs, strict=True))
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert spearman(x, y) is None
    else:
        assert spearman(x, y) == pytest.approx(float(stats.spearmanr(x, y).statistic), abs=1e-9)


def test_a_compositional_language_has_topographic_similarity_one() -> None:
    assert topographic_similarity(MEANINGS, COMPOSITIONAL) == pytest.approx(1)
    null = permutation_null(Topography(MEANINGS, COMPOSITIONAL).similarity, 16, permutations=99)
    assert null is not None
    assert null.null.p == pytest.approx(0.01)
    assert abs(null.null.mean) < 0.05


def test_topographic_similarity_is_the_rank_correlation_of_all_distances() -> None:
    pairs = [(i, k) for i in range(16) for k in range(i + 1, 16)]
    meanings = [hamming(MEANINGS[i], MEANINGS[k]) for i, k in pairs]
    messages = [levenshtein(HOLISTIC[i], HOLISTIC[k]) for i, k in pairs]
    expected = float(stats.spearmanr(meanings, messages).statistic)
    assert topographic_similarity(MEANINGS, HOLISTIC) == pytest.approx(expected)


def test_a_holistic_language_has_none_of_it() -> None:
    null = permutation_null(Topography(MEANINGS, HOLISTIC).similarity, 16)
    assert null is not None
    assert abs(null.value) < 0.3
    assert null.null.p > 0.05


def test_a_language_with_synonyms_keeps_its_structure() -> None:
    """Each meaning has two messages that differ in a third symbol without meaning."""
    meanings = MEANINGS * 2
    messages = [(*m, f"o{k}") for k in range(2) for m in COMPOSITIONAL]
    value = topographic_similarity(meanings, messages)
    assert value is not None
    assert 0.5 < value < 1
    assert positional_disentanglement(meanings, messages) == pytest.approx(2 / 3)


def test_a_collapsed_language_has_no_value_rather_than_nan() -> None:
    assert topographic_similarity(MEANINGS, CONSTANT) is None
    assert topographic_similarity(MEANINGS, [()] * 16) is None
    assert positional_disentanglement(MEANINGS, CONSTANT) is None
    assert bag_disentanglement(MEANINGS, CONSTANT) is None
    assert permutation_null(Topography(MEANINGS, CONSTANT).similarity, 16) is None


def test_meanings_equally_far_apart_have_no_topography() -> None:
    assert topographic_similarity([("s0",), ("s1",), ("s2",)], [("m0",), ("m1",), ("m2",)]) is None
    assert topographic_similarity([], []) is None
    assert topographic_similarity([("s0",)], [("m0",)]) is None


def test_many_meanings_are_sampled() -> None:
    meanings = [(f"a{i}", f"b{j}") for i in range(30) for j in range(30)]
    messages = [(f"m{a[1:]}", f"n{b[1:]}") for a, b in meanings]
    topography = Topography(meanings, messages, most=5000)
    assert (topography.pairs, topography.all) == (5000, 900 * 899 // 2)
    assert topography.similarity() == pytest.approx(1)
    assert Topography(meanings[:100], messages[:100], most=5000).interval() is None  # all pairs were compared


def test_positions_that_speak_of_one_attribute_each_are_disentangled() -> None:
    assert positional_disentanglement(MEANINGS, COMPOSITIONAL) == pytest.approx(1)
    assert bag_disentanglement(MEANINGS, COMPOSITIONAL) == pytest.approx(1)


def test_constant_positions_are_skipped() -> None:
    assert positional_disentanglement(MEANINGS, [("m9", *m) for m in COMPOSITIONAL]) == pytest.approx(1)


def test_symbols_in_any_order_are_a_bag_and_no_positions() -> None:
    by_place = positional_disentanglement(MEANINGS, BAG)
    assert bag_disentanglement(MEANINGS, BAG) == pytest.approx(1)
    assert by_place is not None
    assert by_place < 0.5


def test_positions_without_symbols_of_their_own_are_no_bag() -> None:
    assert positional_disentanglement(MEANINGS, SAME_SYMBOLS) == pytest.approx(1)
    bag = bag_disentanglement(MEANINGS, SAME_SYMBOLS)
    assert bag == pytest.approx(0)


def test_a_position_that_mixes_attributes_speaks_of_none() -> None:
    mixed = [(f"m{(int(a[1]) + int(b[1])) % 4}",) for a, b in MEANINGS]
    assert positional_disentanglement(MEANINGS, mixed) == pytest.approx(0)


def test_one_attribute_cannot_be_disentangled() -> None:
    assert positional_disentanglement([("a0",), ("a1",)], [("m0",), ("m1",)]) is None
    assert positional_disentanglement([("a0", "b0"), ("a1", "b0")], [("m0",), ("m1",)]) is None
    assert positional_disentanglement([("a0", "b0"), ("a1", "b1")], [(), ()]) is None


def test_messages_of_different_length_are_compared() -> None:
    messages = [m[: 1 + (i % 2)] for i, m in enumerate(COMPOSITIONAL)]
    assert topographic_similarity(MEANINGS, messages) is not None
    assert positional_disentanglement(MEANINGS, messages) is not None
