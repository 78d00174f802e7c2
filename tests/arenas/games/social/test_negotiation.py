"""The deals of negotiation against the rules of the paper, its optimum by enumeration, its silent anchor by search."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest

import arenas
from arenas.games.social.negotiation import (
    Amounts,
    Deal,
    best_split,
    deals,
    efficiency,
    joint,
    pareto_optimal,
    rest,
    splits,
    worth,
)
from arenas.solvers.exact import expected_returns


def test_all_deals_are_as_in_the_paper() -> None:
    assert len(set(deals())) == len(deals()) == arenas.make("negotiation").cases
    for counts, (mine, theirs) in deals():
        assert 5 <= sum(counts) <= 7
        assert worth(mine, counts) == worth(theirs, counts) == 10
        assert all(a or b for a, b in zip(mine, theirs, strict=True))
        assert any(a and b for a, b in zip(mine, theirs, strict=True))
        assert Deal(counts, (theirs, mine)) in _ALL


_ALL = set(deals())


def test_a_deal_of_the_papers_data_by_hand() -> None:
    # The first line of its README: 1 book, 4 hats, 1 ball; worth 4 1 2 to the one and 0 2 2 to the other.
    deal = Deal((1, 4, 1), ((4, 1, 2), (0, 2, 2)))
    arena = arenas.make("negotiation", turns=2)
    arena.begin(0, case=deals().index(deal))
    assert arena.view("negotiator_0") == "book 1 worth 4 hat 4 worth 1 ball 1 worth 2 speak"
    arena.advance({"negotiator_0": ("i", "would", "like", "4", "hats")})
    assert arena.view("negotiator_1") == "book 1 worth 0 hat 4 worth 2 ball 1 worth 2 speak"
    arena.advance({"negotiator_1": ("deal",)})
    assert arena.view("negotiator_1") == "take book hat ball"
    after = arena.copy()
    assert after.advance({"negotiator_0": ("1", "0", "1"), "negotiator_1": ("0", "4", "0")}).rewards == {
        "negotiator_0": 6.0,
        "negotiator_1": 8.0,
    }
    wrong = arena.advance({"negotiator_0": ("1", "1", "1"), "negotiator_1": ("0", "4", "0")})
    assert set(wrong.rewards.values()) == {0.0}
    assert (best_split(deal), joint(deal, best_split(deal))) == ((1, 0, 1), 14)
    assert efficiency(deal, (1, 4, 1)) == 10 / 14
    assert pareto_optimal(deal, (1, 0, 1))
    assert not pareto_optimal(deal, (0, 4, 0))  # the book is worth nothing to the other


@pytest.mark.parametrize("deal", deals()[::500])
def test_the_best_split_is_the_best_of_all_and_efficient(deal: Deal) -> None:
    ways = splits(deal.counts)
    assert joint(deal, best_split(deal)) == max(joint(deal, way) for way in ways)
    assert pareto_optimal(deal, best_split(deal))
    assert any(not pareto_optimal(deal, way) for way in ways)


def test_anchors_over_all_deals() -> None:
    arena = arenas.make("negotiation", turns=2)
    known = arena.anchors()
    scripts = arena.scripts()
    for name in ("silent", "full"):
        returns = expected_returns(arena, dict.fromkeys(arena.possible_agents, scripts[name]))
        assert sum(returns.values()) / 2 == pytest.approx(getattr(known, name))


def test_plans_that_depend_on_ones_own_values_gain_next_to_nothing_in_silence() -> None:
    """Coordinate ascent over what each takes given its values, from settled splits and from random plans."""
    by_counts = defaultdict(list)
    for deal in deals():
        by_counts[deal.counts].append(deal.values)
    rng = random.Random(1)
    gained = total = 0
    for counts in list(by_counts)[::4]:
        pairs = by_counts[counts]
        half = tuple(count // 2 for count in counts)
        best = _climbed(counts, pairs, {}, half)
        for _ in range(5):
            ways = splits(counts)
            start = {(seat, pair[seat]): rng.choice(ways) for pair in pairs for seat in (0, 1)}
            best = max(best, _climbed(counts, pairs, start, half))
        assert best >= 10 * len(pairs)
        gained, total = gained + best - 10 * len(pairs), total + 10 * len(pairs)
    assert gained / total < 0.01


def _climbed(
    counts: Amounts, pairs: list[tuple[Amounts, Amounts]], start: dict[tuple[int, Amounts], Amounts], half: Amounts
) -> int:
    """Return both's points over all pairs of values, where no change of one plan for one's values helps."""
    settled = (half, rest(counts, half))
    plans = {(seat, pair[seat]): start.get((seat, pair[seat]), settled[seat]) for pair in pairs for seat in (0, 1)}
    met = defaultdict(list)
    for mine, theirs in pairs:
        met[0, mine].append(theirs)
        met[1, theirs].append(mine)
    before, points = -1, 0
    while points > before:
        before = points
        for (seat, mine), others in met.items():
            offers: dict[Amounts, int] = defaultdict(int)
            for theirs in others:
                taken = plans[1 - seat, theirs]
                offers[rest(counts, taken)] += worth(mine, rest(counts, taken)) + worth(theirs, taken)
            plans[seat, mine] = max(offers, key=lambda way: offers[way])
        points = sum(
            worth(mine, plans[0, mine]) + worth(theirs, plans[1, theirs])
            for mine, theirs in pairs
            if rest(counts, plans[0, mine]) == plans[1, theirs]
        )
    return points
