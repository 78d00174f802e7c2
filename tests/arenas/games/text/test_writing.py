"""The reward of the writing pair, step by step, with texts counted by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenas.games.text.writing import POSTS, TRANSITIONS, WRITERS, Writing, reward, rise, style, written

EIGHT = "one two three four five six seven eight"


def test_texts_of_the_wrong_size_earn_nothing() -> None:
    assert reward("one two three four five six seven", EIGHT) == 0.0
    assert reward(EIGHT, " ".join(["word"] * 257)) == 0.0


def test_two_texts_of_the_same_length_earn_the_first_step_only() -> None:
    assert reward(EIGHT, EIGHT) == 0.5


@pytest.mark.parametrize(
    ("characters", "earned"),
    [(42, 0.5), (54, 0.5 + (54 / 39 - 1.1) / 0.5), (78, 1.5), (159, 0.5 + (5 - 159 / 39) / 1.8)],
)
def test_the_second_step_is_for_a_ratio_of_lengths(characters: int, earned: float) -> None:
    """The long text has one word only, so that the third step stays shut."""
    long = "zz " * 7
    long += "z" * (characters - len(long))
    assert len(EIGHT) == 39
    assert reward(EIGHT, long) == pytest.approx(earned)


def test_the_third_and_fourth_step_are_for_other_words_and_style() -> None:
    twelve = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda nu"
    assert reward(EIGHT, twelve) == pytest.approx(0.5 + 1.0 + 0.5 * (12 / 8 - 1.3) / 0.7), "nothing in common"
    assert reward("one " * 8, f"{twelve} one") == pytest.approx(0.5 + 1.0 + 0.5 + 0.6), "one word in 13 in common"


def test_kinds_of_transitions_count_once() -> None:
    assert style("x", "y moreover besides") == pytest.approx(0.16)
    assert style("x", "y moreover thus") == pytest.approx(0.18)


def test_all_there_is_to_earn() -> None:
    texts = [" ".join(written(writer)) for writer in WRITERS]
    assert reward(*texts) == pytest.approx(2.98) == Writing().anchors().full
    assert len(TRANSITIONS) == 12


@given(st.floats(0, 10), st.floats(0, 10))
def test_rises_go_up_from_0_to_1(a: float, b: float) -> None:
    low, high = sorted((rise(a, 1.1, 1.6), rise(b, 1.1, 1.6)))
    assert 0 <= low <= high <= 1
    assert (a <= b) == (rise(a, 1.1, 1.6) <= rise(b, 1.1, 1.6)) or low == high


def test_every_post_is_another_and_shown_to_both() -> None:
    arena = Writing()
    assert len(set(POSTS)) == len(POSTS) == arena.cases == 256
    arena.reset(seed=1, options={"case": 7})
    assert all(arena.view(writer).startswith(POSTS[7]) for writer in WRITERS)
    assert len({arena.view(writer) for writer in WRITERS}) == 2
