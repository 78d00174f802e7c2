"""The rules of commons by hand, its optimum and its equilibrium by enumeration."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

import arenas
from arenas.games.social import commons
from arenas.games.social.commons import caught, equality, plan, regrown, survival
from arenas.solvers.play import play


def take(*amounts: int) -> dict[str, tuple[str, ...]]:
    return {f"fisher_{i}": (str(amount),) for i, amount in enumerate(amounts)}


def test_two_months_by_hand() -> None:
    arena = arenas.make("commons", months=3, talk=0)
    arena.begin(0)
    paid = arena.advance(take(10, 20, 10, 15, 5))  # 60 of 100; 40 are left and double
    assert paid.rewards == {"fisher_0": 0.5, "fisher_1": 1.0, "fisher_2": 0.5, "fisher_3": 0.75, "fisher_4": 0.25}
    assert arena.view("fisher_2") == "took 10 20 10 15 5 month 2 stock 80"
    last = arena.advance(take(20, 20, 20, 20, 20))  # 100 asked for, 80 there: 16 each, and none are left
    assert last.done
    assert set(last.rewards.values()) == {0.8}


def test_fewer_than_five_fish_never_come_back() -> None:
    assert [regrown(left, 100) for left in (0, 4, 5, 40, 50, 60)] == [0, 0, 10, 80, 100, 100]


def test_the_optimum_is_half_the_lake_each_month_and_all_of_it_at_the_end() -> None:
    assert plan(12, 100, 100, 1) == (11 * 50 + 100, 50)
    assert arenas.make("commons").anchors().full == (11 * 50 + 100) / 100


@pytest.mark.parametrize(("months", "full", "step"), [(1, 12, 2), (3, 12, 2), (3, 20, 5), (4, 24, 4), (5, 15, 5)])
def test_the_plan_is_the_best_of_all_ways_to_fish(months: int, full: int, step: int) -> None:
    best = 0
    for totals in product(range(0, full + 1, step), repeat=months):
        stock, total = full, 0
        for asked in totals:
            total += min(asked, stock)
            stock = regrown(stock - min(asked, stock), full)
        best = max(best, total)
    assert plan(months, full, full, step)[0] == best


@pytest.mark.parametrize(
    ("agents", "full", "step", "dominates"),
    [(5, 100, 5, True), (4, 80, 10, True), (3, 60, 10, True), (3, 60, 5, False), (5, 100, 1, False), (2, 20, 5, False)],
)
def test_greed_dominates_where_no_other_amount_is_as_good(agents: int, full: int, step: int, dominates: bool) -> None:
    """The most is compared with every other amount, one by one; what is left is shared equally in the next month."""
    assert commons.greed_dominates(agents, full, step) is dominates
    most = full // agents
    best = True
    for stock, others in product(range(commons.COLLAPSE, full + 1), range(0, most * (agents - 1) + 1, step)):
        worth = []
        for mine in range(0, most + 1, step):
            left = stock - min(mine + others, stock)
            worth.append(caught([mine, others], stock)[0] + regrown(left, full) / agents)
        best &= (
            worth[-1] > max(worth[:-1]) + 1e-9 if others else worth[-1] > worth[0] and worth[-1] >= max(worth) - 1e-9
        )
    assert best is dominates


@given(st.lists(st.integers(0, 20), min_size=1, max_size=6), st.integers(0, 100))
def test_nobody_catches_more_than_it_asked_for_nor_all_more_than_there_is(asked: list[int], stock: int) -> None:
    catch = caught(asked, stock)
    assert sum(catch) == pytest.approx(min(sum(asked), stock))
    assert all(0 <= got <= wanted + 1e-9 for got, wanted in zip(catch, asked, strict=True))


def test_survival_counts_the_months_with_fish() -> None:
    assert survival([50] * 12) == 12
    assert survival([100] * 12) == 1
    assert survival([60, 60, 60, 60]) == 3  # 100, 80, 40, collapsed
    assert survival([]) == 0


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=8))
def test_equality_is_one_for_equals_and_one_over_n_for_a_single_owner(returns: list[float]) -> None:
    assert 1 / len(returns) - 1e-9 <= equality(returns) <= 1 + 1e-9
    assert equality([3.0] * len(returns)) == pytest.approx(1.0)
    assert equality([5.0, *[0.0] * (len(returns) - 1)]) == pytest.approx(1 / len(returns))


def test_talk_is_free_and_precedes_each_catch() -> None:
    arena = arenas.make("commons", months=2, talk=2)
    arena.begin(0)
    spec = arena.spec("fisher_0")
    words = ("let", "us", "take", "ten", "each")
    assert (spec.kind, spec.parse(" ".join(words)), spec.default) == ("say", words, ())
    assert arena.advance(dict.fromkeys(arena.acting(), ("please", "wait"))).rewards == {}
    assert arena.spec("fisher_0").kind == "move"


def test_greed_ends_the_game_in_a_month() -> None:
    arena = arenas.make("commons")
    greedy = arena.scripts()["equilibrium"]
    returns = play(arena, dict.fromkeys(arena.possible_agents, greedy), 0)
    assert tuple(returns.values()) == pytest.approx(arena.anchors().values)
    assert arena.month == 2
