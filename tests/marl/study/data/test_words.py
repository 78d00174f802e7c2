"""Frequencies, lengths, morphemes, alignment and probes on languages made for them."""

from __future__ import annotations

from itertools import product
from math import log2

import numpy as np
import pytest

from marl.metrics import consistency, morphemes, reconstruction
from marl.metrics.compositionality import Topography, jaccard
from marl.metrics.information import codes, columns
from marl.metrics.probe import Probe
from marl.metrics.zipf import Abbreviation, zipf
from marl.study.data.corpus import MessageSample
from marl.study.language import summary as language
from tests.marl.study.languages import BAG, COMPOSITIONAL, MEANINGS


def test_zipf_finds_the_slope_it_was_made_with() -> None:
    for slope in (0.5, 1.0, 2.0):
        words = [w for rank in range(1, 40) for w in [rank] * round(1e5 / rank**slope)]
        fit = zipf(words)
        assert fit is not None
        assert fit.slope == pytest.approx(slope, abs=0.01)
        assert fit.explained > 0.99
    assert zipf("aabbccdd") is None  # four words
    assert zipf("aabbccddee") is None  # equally frequent


def spoken(*said: tuple[str, int]) -> list[tuple[str, ...]]:
    return [tuple(message) for message, count in said for _ in range(count)]


def test_frequent_messages_that_are_short_obey_the_law_of_abbreviation() -> None:
    law = Abbreviation(spoken(("a", 8), ("bb", 4), ("ccc", 2), ("dddd", 1)))
    assert law.correlation() == pytest.approx(-1)
    assert law.mean_length() == law.shortest == pytest.approx((8 + 8 + 6 + 4) / 15)
    against = Abbreviation(spoken(("aaaa", 8), ("bbb", 4), ("cc", 2), ("d", 1)))
    assert against.correlation() == pytest.approx(1)
    assert against.mean_length() == pytest.approx((32 + 12 + 4 + 1) / 15)
    assert against.shortest == law.shortest
    assert Abbreviation(spoken(("aa", 8), ("bb", 4))).correlation() is None


def test_the_law_of_abbreviation_is_tested_against_chance() -> None:
    samples = [MessageSample(f"x{n}", ("m",) * (n + 1)) for n in range(8) for _ in range(2 ** (7 - n))]
    measures = language.measure(samples, permutations=199).measures
    measure = measures["abbreviation"]
    assert measure.value == pytest.approx(-1)
    assert measure.null is not None
    assert measure.null.p == pytest.approx(0.005)
    even = language.measure([MessageSample(f"x{n}", ("m",) * (n + 1)) for n in range(8)], permutations=9).measures
    assert even["abbreviation"].undefined == "all messages are equally frequent"


def test_morphemes_of_several_symbols_and_of_wider_meanings() -> None:
    """`a0` is x y, `a1` is z; a0 with b1 is an idiom of its own."""
    meanings = [("a0", "b0"), ("a0", "b1"), ("a0", "b2"), ("a1", "b0"), ("a1", "b1"), ("a1", "b2")] * 4
    plain = {"a0": ("x", "y"), "a1": ("z",), "b0": ("u",), "b1": ("v",), "b2": ("w",)}
    messages = [("q", "q") if m == ("a0", "b1") else (*plain[m[0]], *plain[m[1]]) for m in meanings]
    meaning_of = {morpheme.form: morpheme.meaning for morpheme in morphemes.inventory(meanings, messages)}
    assert meaning_of["q", "q"] == ("a0", "b1")
    assert meaning_of["x", "y"] == ("a0",)
    assert meaning_of["z",] == ("a1",)
    assert meaning_of["u",] == ("b0",)


def test_synonymy_and_polysemy_are_entropies_over_uses() -> None:
    one = morphemes.FormMeaning(("x",), ("a",), 1.0, 6)
    assert (morphemes.synonymy([one]), morphemes.polysemy([one])) == (0, 0)
    other = morphemes.FormMeaning(("y",), ("a",), 1.0, 6)
    assert morphemes.synonymy([one, other]) == pytest.approx(1)
    assert morphemes.polysemy([one, other]) == 0
    again = morphemes.FormMeaning(("x",), ("b",), 1.0, 2)
    assert morphemes.polysemy([one, again]) == pytest.approx(-0.75 * log2(0.75) - 0.25 * log2(0.25))
    assert (morphemes.synonymy([]), morphemes.polysemy([])) == (None, None)


def test_alignment_finds_which_symbol_says_what() -> None:
    meant = reconstruction.indicators(columns(MEANINGS))
    said = reconstruction.indicators(columns(COMPOSITIONAL))
    assert consistency.align(meant, said) == pytest.approx(np.eye(8), abs=0.01)


def test_jaques_consistency_on_a_worked_example() -> None:
    """m0 goes with both of two acts alike, m1 with the first; so act 0 is m0 in 1/3, m1 in 2/3 of the cases."""
    message, act = codes("aabb"), codes("xyxx")
    third = 1 - (-(1 / 3) * log2(1 / 3) - (2 / 3) * log2(2 / 3))
    assert consistency.speaker_consistency(message, act) == pytest.approx((0.5 * (0 + 1) + 0.5 * (third + 1)) / 2)


def test_a_probe_reads_positions_and_not_what_it_never_saw() -> None:
    meanings = list(product([f"a{i}" for i in range(8)], [f"b{i}" for i in range(8)]))
    attributes = columns(meanings)
    said = reconstruction.at_positions([(f"m{a[1]}", f"m{b[1]}") for a, b in meanings])
    whole = codes(meanings)
    probe = Probe(said, whole)
    assert [probe.gain(attribute) for attribute in attributes] == pytest.approx([7 / 8, 7 / 8], abs=0.13)
    holistic = Probe(np.eye(64), whole)  # each meaning has a word of its own
    assert [holistic.gain(attribute) for attribute in attributes] == pytest.approx([0, 0], abs=0.13)


def test_conflicts_choose_the_best_assignment() -> None:
    attributes, positions = columns(MEANINGS), columns([(b, a, "x") for a, b in COMPOSITIONAL])
    assert reconstruction.conflicts(attributes, positions) == 0
    assert reconstruction.conflicts(attributes, positions[:1]) is None
    spoiled = [list(m) for m in COMPOSITIONAL]
    spoiled[0][0] = "m1"
    assert reconstruction.conflicts(attributes, columns(spoiled)) == 1


def test_other_distances_see_other_structure() -> None:
    assert jaccard("ab", "ba") == 0
    assert jaccard("ab", "bc") == pytest.approx(2 / 3)
    assert jaccard("", "") == 0
    bag = Topography(MEANINGS, BAG, message="jaccard").similarity()
    edits = Topography(MEANINGS, BAG).similarity()
    assert bag == pytest.approx(1)
    assert edits is not None
    assert edits < 0.7


def test_a_sample_of_pairs_stands_for_all_of_them() -> None:
    rng = np.random.default_rng(0)
    meanings = [tuple(f"a{v}" for v in row) for row in rng.integers(6, size=(600, 3))]
    messages = [(*m[:2], f"x{rng.integers(6)}") for m in meanings]
    whole = Topography(meanings, messages, most=10**6)
    assert (whole.pairs, whole.sampled) == (600 * 599 // 2, False)
    rho = whole.similarity()
    assert rho is not None
    inside = 0
    for seed in range(10):
        interval = Topography(meanings, messages, most=4000, seed=seed).interval(replications=100)
        assert interval is not None
        assert interval.of == "bootstrap over 4000 of 179700 pairs"
        inside += interval.low <= rho <= interval.high
    assert inside >= 8
