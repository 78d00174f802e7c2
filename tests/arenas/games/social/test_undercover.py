"""The rules of undercover by hand; who is found by honest descriptions, and by none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenas.games.social.undercover import ANIMALS, KINDS, PAIRS, Undercover, detection, found, names_an_animal
from arenas.scripted import Script, uniform
from arenas.solvers.play import play


def begun(case: int = 7, **options: Any) -> Undercover:
    arena = Undercover(**options)
    arena.begin(0, case=case)
    return arena


def test_words_differ_in_one_trait() -> None:
    assert len(PAIRS) == 12 * (1 + 1 + 2)
    assert len(ANIMALS) == len(KINDS) == 12


def test_only_the_undercover_holds_another_word_and_nobody_is_told() -> None:
    arena = begun()
    shown = []
    for seat in arena.possible_agents:
        assert arena.acting() == (seat,)
        shown.append(arena.view(seat))
        arena.advance({seat: ("small",)})
    place = arena.possible_agents.index(arena.undercover)
    assert [i for i, view in enumerate(shown) if view != f"word {arena.word} describe"] == [place]
    assert shown[place] == f"word {arena.other} describe"
    assert arena.acting() == tuple(arena.possible_agents)
    assert {arena.view(seat) for seat in arena.possible_agents} == {"vote"}
    assert all(seat not in arena.spec(seat).alphabet for seat in arena.possible_agents)


@pytest.mark.parametrize(
    ("votes", "who"),
    [("aab", "a"), ("abc", None), ("aabb", None), ("bbbaa", "b"), ("a", "a"), ("abbcc", None), ("cabcb", None)],
)
def test_only_the_most_votes_find_somebody(votes: str, who: str | None) -> None:
    assert found(votes) == who


def vote(arena: Undercover, target: str) -> dict[str, tuple[str, ...]]:
    others = [seat for seat in arena.possible_agents if seat != target]
    return {seat: (target if seat != target else others[0],) for seat in arena.possible_agents}


def test_what_one_side_wins_the_other_loses() -> None:
    arena = begun()
    for seat in arena.possible_agents:
        arena.advance({seat: ()})
    right = arena.copy().advance(vote(arena, arena.undercover))
    innocent = next(seat for seat in arena.possible_agents if seat != arena.undercover)
    wrong = arena.copy().advance(vote(arena, innocent))
    for outcome, sign in ((right, 1.0), (wrong, -1.0)):
        assert outcome.done
        assert outcome.rewards[arena.undercover] == -4.0 * sign
        assert outcome.rewards[innocent] == sign
        assert sum(outcome.rewards.values()) == 0.0


def test_who_names_an_animal_loses_for_its_side() -> None:
    arena = begun()
    first = arena.possible_agents[0]
    ended = arena.advance({first: ("It's", "a", "Duck!")})
    assert ended.done
    assert ended.rewards[first] < 0
    assert arena.undercover != first
    assert sum(ended.rewards.values()) == 0.0


@pytest.mark.parametrize(
    ("said", "named"),
    [("a duck", True), ("Ducks!", True), ("two mice", True), ("duckling", False), ("", False), ("hens?", True)],
)
def test_names_are_found_in_free_talk(said: str, named: bool) -> None:
    assert names_an_animal(tuple(said.split())) is named


@given(st.lists(st.text(max_size=30), min_size=5, max_size=5))
def test_any_description_is_borne_and_the_sum_is_zero(said: list[str]) -> None:
    arena = begun()
    for seat, text in zip(arena.possible_agents, said, strict=True):
        outcome = arena.advance({seat: tuple(text.split())})
        if outcome.done:
            break
    else:
        outcome = arena.advance(vote(arena, "player_0"))
    assert sum(outcome.rewards.values()) == 0.0


def rate(script: Script, **options: Any) -> float:
    arena = Undercover(**options)
    seats = dict.fromkeys(arena.possible_agents, script)
    return detection([tuple(play(arena, seats, 0, case=case).values()) for case in range(arena.cases)])


def test_honest_descriptions_give_the_undercover_away() -> None:
    arena = begun()
    silent, honest = arena.scripts()["silent"], arena.scripts()["best"]
    assert rate(silent) == pytest.approx(1 / 5)  # all agree on one seat
    assert rate(honest) > 1 / 3
    assert rate(honest, words=3) == 1.0  # all three traits are told
    assert rate(uniform) < 1 / 4
