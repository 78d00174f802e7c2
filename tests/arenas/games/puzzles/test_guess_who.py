"""Questions and answers in a closed world: what they cost, and how many it takes."""

from __future__ import annotations

from math import ceil, log2

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arenas.games.puzzles.guess_who import WORLD, GuessWho, most_found, plan
from arenas.solvers.exact import expected_returns


def test_words_tell_which_attribute_they_belong_to() -> None:
    words = [word for values in WORLD for word in values]
    assert len(set(words)) == len(words)


def test_an_episode_worked_out_by_hand() -> None:
    arena = GuessWho(attributes=2, rounds=2, price=0.25)
    arena.begin(case=2)
    assert arena.hidden() == "character black blue"
    assert arena.advance({"asker_0": ("red",)}).rewards == {"asker_0": -0.25, "answerer_0": -0.25}
    assert arena.view("answerer_0") == "character black blue"
    assert not any(arena.advance({"answerer_0": ("no",)}).rewards.values())
    assert arena.view("asker_0") == "ask"
    assert not any(arena.advance({"asker_0": ()}).rewards.values()), "silence is free, and means that it knows"
    assert arena.view("asker_0") == "describe"
    outcome = arena.advance({"asker_0": ("black", "blue")})
    assert outcome.rewards == {"asker_0": 1.0, "answerer_0": 1.0}
    assert outcome.done


def test_after_the_last_question_the_asker_must_describe() -> None:
    arena = GuessWho(rounds=1)
    arena.begin(case=0)
    arena.advance({"asker_0": ("red",)})
    arena.advance({"answerer_0": ("yes",)})
    assert arena.view("asker_0") == "describe"
    assert arena.advance({"asker_0": None}).rewards == {"asker_0": 1.0, "answerer_0": 1.0}, "the first is the default"


@given(st.integers(1, 40))
@settings(deadline=None, max_examples=40)
def test_it_takes_as_many_questions_as_the_logarithm_of_the_characters(characters: int) -> None:
    needed = ceil(log2(characters))
    assert most_found(characters, needed, 0.0)[0] == characters
    if needed:
        assert most_found(characters, needed - 1, 0.0)[0] == 2 ** (needed - 1)


def best_tree(characters: int, questions: int, price: float) -> float:
    """Brute force: the best of all trees of questions, as the set of (characters found, questions asked) they reach."""

    def reached(m: int, q: int) -> set[tuple[int, int]]:
        trees = {(1, 0)}
        for s in range(1, m) if q else ():
            trees |= {(a + c, b + d + m) for a, b in reached(s, q - 1) for c, d in reached(m - s, q - 1)}
        return trees

    return max(found - price * asked for found, asked in reached(characters, questions))


@pytest.mark.parametrize("price", [0.0, 0.05, 0.13, 0.3, 0.6])
def test_no_tree_of_questions_finds_more(price: float) -> None:
    for characters in range(1, 8):
        for questions in range(4):
            assert most_found(characters, questions, price)[0] == pytest.approx(best_tree(characters, questions, price))


@pytest.mark.parametrize("options", [{}, {"values": 3, "rounds": 4}, {"values": 4, "attributes": 2, "price": 0.02}])
def test_honest_answers_are_worth_what_the_plan_says(options: dict[str, int]) -> None:
    arena = GuessWho(**options)
    returns = expected_returns(arena, dict.fromkeys(arena.possible_agents, arena.scripts()["best"]))
    start = (len(arena.world[0]),) * len(arena.world)
    assert returns["asker_0"] == pytest.approx(plan(start, arena.rounds, arena.price)[0])
    full = arena.anchors().full
    assert full is not None
    assert returns["asker_0"] <= full + 1e-9


def test_honest_answers_suffice_where_every_value_halves_the_world() -> None:
    arena = GuessWho()
    assert plan((2, 2, 2), 3, 0.05)[0] == pytest.approx(arena.anchors().full) == pytest.approx(1 - 3 * 0.05)
