"""What theory says of hand-made languages, and what is measured of them."""

from __future__ import annotations

from math import isfinite, log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marl.metrics.measure import Measure
from marl.study.data.corpus import MessageSample
from marl.study.data.result import Language
from marl.study.language import summary as language
from tests.marl.study.languages import COMPOSITIONAL, LANGUAGES, MEANINGS, spoken, synonymous

STRUCTURE = (
    "topographic_similarity",
    "positional_disentanglement",
    "bag_disentanglement",
    "tree_reconstruction_error",
    "conflicts",
    "best_matching",
    "probe",
    "morphemes",
)


def measured(samples: list[MessageSample], permutations: int = 99) -> Language:
    return language.measure(samples, permutations=permutations)


FOUND = {name: measured(spoken(messages)) for name, messages in LANGUAGES.items()}


def value(name: str, measure: str) -> float:
    result = FOUND[name].measures[measure].value
    assert result is not None, FOUND[name].measures[measure].undefined
    return result


def chance(name: str, measure: str) -> float:
    null = FOUND[name].measures[measure].null
    assert null is not None
    return null.p


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        ("entropy", 4),
        ("mutual_information", 4),
        ("normalised_information", 1),
        ("effective_vocabulary", 8),
        ("ambiguous", 0),
        ("synonyms", 0),
        ("context_independence", 1),
        ("topographic_similarity", 1),
        ("positional_disentanglement", 1),
        ("bag_disentanglement", 1),
        ("tree_reconstruction_error", 0),
        ("conflicts", 0),
        ("best_matching", 1),
        ("probe", 1),
        ("morphemes", 8),
        ("synonymy", 0),
        ("polysemy", 0),
        ("channel_use", 4 / (2 * 3)),
    ],
)
def test_a_compositional_language(measure: str, expected: float) -> None:
    # Of a symbol that held 1/4 of the meanings a fold of 5 may hold out too many for the majority guess to gain.
    tolerance = 0.35 if measure == "probe" else 0.02 if measure == "context_independence" else 1e-9
    assert value("compositional", measure) == pytest.approx(expected, abs=tolerance)


def test_the_dictionary_and_the_morphemes_of_a_compositional_language() -> None:
    expected = {f"m{i}": f"a{i}" for i in range(4)} | {f"n{i}": f"b{i}" for i in range(4)}
    language = FOUND["compositional"]
    assert {word.symbol: word.concept for word in language.dictionary} == expected
    assert {morpheme.form: morpheme.meaning for morpheme in language.morphemes} == expected
    assert {word.share for word in language.dictionary} == {1.0}


def test_one_alphabet_for_all_positions_is_compositional_and_no_bag() -> None:
    assert value("shared symbols", "positional_disentanglement") == pytest.approx(1)
    assert value("shared symbols", "topographic_similarity") == pytest.approx(1, abs=0.1)
    assert value("shared symbols", "tree_reconstruction_error") == pytest.approx(0, abs=1e-9)
    assert value("shared symbols", "bag_disentanglement") == pytest.approx(0)
    assert {word.symbol: word.concept for word in FOUND["shared symbols"].dictionary}["m2 at 2"] == "b2"


def test_a_permutation_invariant_language_is_a_bag_and_no_row_of_positions() -> None:
    assert value("bag", "bag_disentanglement") == pytest.approx(1)
    assert value("bag", "positional_disentanglement") < 0.6
    assert value("bag", "best_matching") == pytest.approx(1)
    assert FOUND["bag"].measures["tree_reconstruction_error"].parts["bags"] == pytest.approx(0, abs=1e-9)
    assert value("bag", "tree_reconstruction_error") > 0.1
    assert {m.form: m.meaning for m in FOUND["bag"].morphemes} == {
        m.form: m.meaning for m in FOUND["compositional"].morphemes
    }


def test_a_holistic_language_tells_everything_and_has_no_structure() -> None:
    assert value("holistic", "mutual_information") == pytest.approx(4)
    assert value("holistic", "normalised_information") == pytest.approx(1)
    for measure in ("topographic_similarity", "positional_disentanglement", "tree_reconstruction_error", "conflicts"):
        assert chance("holistic", measure) > 0.05, measure
        assert chance("compositional", measure) == pytest.approx(0.01), measure
    assert value("holistic", "morphemes") > value("compositional", "morphemes")


@pytest.mark.parametrize("name", ["constant", "silent"])
def test_who_says_nothing_is_undefined_with_the_reason(name: str) -> None:
    assert value(name, "entropy") == 0
    assert value(name, "mutual_information") == 0
    assert value(name, "ambiguous") == 16
    reason = {"constant": "all messages are the same", "silent": "no message has a symbol in it"}[name]
    for measure in STRUCTURE:
        assert FOUND[name].measures[measure].undefined == reason
    assert (FOUND[name].dictionary, FOUND[name].morphemes) == ([], [])


def test_a_degenerate_language_speaks_of_one_attribute() -> None:
    assert value("degenerate", "mutual_information") == pytest.approx(2)
    assert value("degenerate", "normalised_information") == pytest.approx(1)  # of the smaller entropy
    assert value("degenerate", "ambiguous") == 16
    assert value("degenerate", "best_matching") < 0.7
    (first, second) = FOUND["degenerate"].positions
    assert [first["a"].value, first["b"].value, second["a"].value] == pytest.approx([2, 0, 0])
    assert value("degenerate", "positional_disentanglement") == pytest.approx(1)  # of the position that says something


def test_synonyms_cost_nothing_but_context_independence() -> None:
    language = measured(synonymous())
    figures = {name: measure.value for name, measure in language.measures.items()}
    assert figures["synonyms"] == 16
    assert figures["entropy"] == pytest.approx(5, abs=1.0)
    information = language.measures["mutual_information"]
    assert information.plug_in == pytest.approx(4)
    assert figures["positional_disentanglement"] == pytest.approx(2 / 3)
    assert figures["tree_reconstruction_error"] == pytest.approx(0.5 / 2, abs=0.01)  # the third symbol is unexplained
    twice = [
        MessageSample(x, (f"{m[0]}{k}", m[1]))
        for k in "xy"
        for x, m in zip([" ".join(x) for x in MEANINGS], COMPOSITIONAL, strict=True)
    ]
    synonyms = measured(twice)
    independence = synonyms.measures["context_independence"].value
    assert independence is not None
    assert independence == pytest.approx((1 + 0.5) / 2, abs=0.05)  # half of the concepts have two symbols
    assert synonyms.measures["synonymy"].value == pytest.approx(0.5, abs=0.05)


def test_independent_variables_are_within_the_null() -> None:
    """N = 100, 10 messages, 5 meanings: plug-in says 0.2 nats where there are none."""
    inside = 0
    plain, corrected = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        samples = [
            MessageSample(f"x{x}", (f"m{m}",))
            for x, m in zip(rng.integers(5, size=100), rng.integers(10, size=100), strict=True)
        ]
        measure = measured(samples).measures["mutual_information"]
        assert measure.value is not None
        assert measure.plug_in is not None
        assert measure.null is not None
        plain.append(measure.plug_in)
        corrected.append(measure.value)
        inside += measure.null.p > 0.05
    assert np.mean(plain) * np.log(2) == pytest.approx(0.2, abs=0.03)
    assert np.mean(corrected) < np.mean(plain) / 2  # most of the bias is gone, the rest is what the null is for
    assert inside >= 17  # 19 of 20 are expected


def test_independent_variables_over_more_cells_than_samples_show_why_the_null_is_needed() -> None:
    rng = np.random.default_rng(3)
    samples = [
        MessageSample(f"x{x}", (f"m{m}",))
        for x, m in zip(rng.integers(40, size=100), rng.integers(40, size=100), strict=True)
    ]
    measure = measured(samples).measures["mutual_information"]
    assert measure.value is not None
    assert measure.value > 0.5  # the correction is not enough
    assert measure.null is not None
    assert measure.null.p > 0.05  # the null knows


def test_held_out_meanings_are_in_the_table_and_not_in_the_measures() -> None:
    samples = [sample._replace(held_out=sample.meaning == "a0 b0") for sample in spoken(COMPOSITIONAL)]
    language = measured(samples)
    assert (language.samples, len(language.pairs)) == (15, 16)
    assert [pair.meaning for pair in language.pairs if pair.held_out] == ["a0 b0"]


def test_own_moves_make_a_speaker_consistent() -> None:
    telling = [sample._replace(own=sample.message[0]) for sample in spoken(COMPOSITIONAL) * 8]
    measures = measured(telling).measures
    assert measures["speaker_consistency_lowe"].plug_in == pytest.approx(2)
    assert measures["speaker_consistency_jaques"].value == pytest.approx((1 + 1 - log2(4) / 4) / 2)
    rng = np.random.default_rng(0)
    blind = [sample._replace(own=f"s{rng.integers(4)}") for sample in telling]
    measures = measured(blind).measures
    for name in ("speaker_consistency_lowe", "speaker_consistency_jaques"):
        null = measures[name].null
        assert null is not None
        assert null.p > 0.05
    one = measured([sample._replace(own="s0") for sample in telling]).measures["speaker_consistency_jaques"]
    assert one.undefined == "it takes two different messages and two different moves"


def all_measures(found: Language) -> list[Measure]:
    return [*found.measures.values(), *(measure for row in found.positions for measure in row.values())]


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from("xyz"), max_size=2).map(" ".join),
            st.lists(st.sampled_from(["m0", "m1"]), max_size=3).map(tuple),
            st.none() | st.sampled_from(["s0", "s1"]),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_whatever_is_said_every_measure_has_a_finite_value_or_a_reason(
    rows: list[tuple[str, tuple[str, ...], str]],
) -> None:
    language = measured([MessageSample(x, m, own=own) for x, m, own in rows], permutations=2)
    assert Language.model_validate_json(language.model_dump_json()) == language
    for measure in all_measures(language):
        assert bool(measure.undefined) == (measure.value is None)
        assert measure.value is None or isfinite(measure.value)
    assert sum(pair.count for pair in language.pairs) == len(rows)
