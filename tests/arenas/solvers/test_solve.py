"""Exact play, checked in other ways: a linear programme, brute force, and averages over the tree."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.sparse import coo_matrix

import arenas
from arenas import Arena, ArenaError
from arenas.games.cards.kuhn import equilibrium
from arenas.games.cards.leduc import VALUE
from arenas.games.cards.tiny_hanabi import PAYOFFS, table
from arenas.scripted import Script, uniform
from arenas.solvers.exact import expected_returns
from arenas.solvers.solve import best_response, cfr_plus, exploitability, nash_conv
from arenas.solvers.tree import Tree, extensive


def value(tree: Tree) -> float:
    """Return the value to the first of two seats of a zero-sum game, by linear programming (Koller et al. 1996).

    max over plans x of the first seat of v(none), where for each column c of the second seat, which is one of set I:
    v(I) <= sum over ends after c of chance * pay * x(last) + sum of v(I') over the sets I' that c leads to
    """
    columns, sets = int(tree.offset[-1]), len(tree.memories)
    own, plan, bound = tree.owner == 0, columns, columns + 1  # x of each column, then 1 for "none", then v of each set
    rows: list[tuple[int, int, float]] = []  # of the inequalities, whose number is the second seat's column
    rows += [(c, bound + int(tree.set_of[c]), 1.0) for c in range(columns) if tree.seat_of[c] == 1]
    rows += [(int(tree.before[i]), bound + i, -1.0) for i in range(sets) if not own[i]]
    for (first, second), weight in zip(tree.last.tolist(), tree.chance * tree.returns[:, 0], strict=True):
        rows.append((second, first if first >= 0 else plan, -float(weight)))
    objective = np.zeros(bound + sets)
    for row, column, x in rows:
        if row < 0:  # before the second seat's first reply
            objective[column] += x
    rows = [row for row in rows if row[0] >= 0]
    same: list[tuple[int, int, float]] = [(sets, plan, 1.0)]
    for i in np.flatnonzero(own).tolist():
        same += [(i, c, 1.0) for c in range(tree.offset[i], tree.offset[i + 1])]
        same.append((i, int(tree.before[i]) if tree.before[i] >= 0 else plan, -1.0))
    found = linprog(
        objective,
        _sparse(rows, columns, len(objective)),
        np.zeros(columns),
        _sparse(same, sets + 1, len(objective)),
        np.eye(sets + 1)[sets],
        [(0, None)] * bound + [(None, None)] * sets,
    )
    assert found.status == 0
    assert found.fun is not None
    return -found.fun


def _sparse(entries: list[tuple[int, int, float]], rows: int, columns: int) -> Any:
    i, j, x = zip(*entries, strict=True)
    return coo_matrix((np.array(x), (np.array(i), np.array(j))), shape=(rows, columns)).tocsr()


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("kuhn", {}, -1 / 18),
        ("leduc", {}, VALUE),
        ("liars_dice", {"faces": 2}, 1 / 2),
        ("liars_dice", {"faces": 3}, 1 / 9),
        ("liars_dice", {"dice": 2, "faces": 2}, 7 / 8),
    ],
    ids=str,
)
def test_values(name: str, options: dict[str, Any], expected: float) -> None:
    arena = arenas.make(name, **options)
    tree = extensive(arena)
    assert value(tree) == pytest.approx(expected, abs=1e-9)
    if (known := arena.anchors().values) is not None:
        assert known == pytest.approx((expected, -expected))
    policy = cfr_plus(tree, 1000)
    assert 0 <= exploitability(tree, policy) < 5e-4
    assert tree.expected(policy) == pytest.approx([expected, -expected], abs=1e-3)


def test_the_script_of_leduc_is_nearly_an_equilibrium() -> None:
    tree = extensive(arenas.make("leduc"))
    assert exploitability(tree, tree.policy(arenas.make("leduc").scripts()["best"])) < 3e-4


SOLVED: list[tuple[str, dict[str, Any]]] = [
    ("kuhn", {}),
    ("lewis", {"n": 3, "k": 2}),
    ("matrix", {"game": "stag_hunt", "rounds": 2}),
    ("matrix", {"game": "chicken", "talk": 1, "alphabet": 2}),
    ("liars_dice", {"faces": 2}),
    ("tiny_hanabi", {"game": "F"}),
    ("trade_comm", {"items": 2}),
]


@pytest.mark.parametrize(("name", "options"), SOLVED, ids=str)
def test_expectations_are_those_of_scripts(name: str, options: dict[str, Any]) -> None:
    """The sequence form and the walk of `arenas.exact` give the same, for a random policy of all seats."""
    arena = arenas.make(name, **options)
    tree = extensive(arena)
    weights = np.random.default_rng(1).exponential(size=int(tree.offset[-1]))
    policy = weights / np.add.reduceat(weights, tree.offset[:-1])[tree.set_of]
    script = tree.script(policy)
    assert tree.policy(script) == pytest.approx(policy)
    returns = expected_returns(arena, dict.fromkeys(arena.possible_agents, script))
    assert tree.expected(policy) == pytest.approx(list(returns.values()))
    assert tree.expected(tree.uniform()) == pytest.approx(tree.expected(tree.policy(uniform)))


@pytest.mark.parametrize(("name", "options"), SOLVED, ids=str)
def test_best_responses_are_what_they_are_worth_and_nothing_gains_more(name: str, options: dict[str, Any]) -> None:
    tree = extensive(arenas.make(name, **options))
    draws = np.random.default_rng(2)
    for seat in tree.seats:
        number = tree.seats.index(seat)
        worth, best = best_response(tree, tree.uniform(), seat)
        assert tree.expected(best)[number] == pytest.approx(worth)
        for _ in range(20):
            weights = draws.exponential(size=int(tree.offset[-1]))
            other = weights / np.add.reduceat(weights, tree.offset[:-1])[tree.set_of]
            other = np.where(tree.seat_of == number, other, tree.uniform())
            assert tree.expected(other)[number] <= worth + 1e-12
    assert nash_conv(tree, tree.uniform()) >= -1e-12


@pytest.mark.parametrize("game", PAYOFFS)
def test_no_joint_policy_of_tiny_hanabi_beats_full(game: str) -> None:
    """All of them, both players' listed; and the optima of the suite's own table (ssokota/tiny-hanabi)."""
    arena = arenas.make("tiny_hanabi", game=game)
    pay = table(game)
    cards, actions = len(pay), pay.shape[2]
    full = silent = -np.inf
    for plan in product(range(actions), repeat=cards):
        for answers in product(range(actions), repeat=cards * actions):
            paid = [pay[i, j, plan[i], answers[j * actions + plan[i]]] for i in range(cards) for j in range(cards)]
            full = max(full, float(np.mean(paid)))
        for answers in product(range(actions), repeat=cards):
            paid = [pay[i, j, plan[i], answers[j]] for i in range(cards) for j in range(cards)]
            silent = max(silent, float(np.mean(paid)))
    known = arena.anchors()
    assert (known.full, known.silent) == pytest.approx((full, silent))
    assert full == pytest.approx({"A": 2.25, "B": 1.0, "C": 2.5, "D": 2.5, "E": 10.0, "F": 2 + 1 / 3}[game])


def test_no_silent_trade_beats_silent() -> None:
    """Every way to ask for an item by one's own, with three items; giving another than one's own never pays."""
    ways = list(product(range(3), repeat=3))
    best = max(sum(one[i] == j and other[j] == i for i in range(3) for j in range(3)) for one in ways for other in ways)
    assert best / 9 == pytest.approx(arenas.make("trade_comm", items=3).anchors().silent)


def test_equilibria_of_both_kinds_of_game() -> None:
    dilemma = extensive(arenas.make("matrix", game="prisoners_dilemma"))
    defect = np.array([float(memory.spec.words(i) == ("defect",)) for memory in dilemma.memories for i in range(2)])
    assert nash_conv(dilemma, defect) == 0
    assert nash_conv(dilemma, 1 - defect) == 2 * (5 - 3)
    kuhn = extensive(arenas.make("kuhn"))
    mixed: dict[str, Script] = {"player_0": equilibrium(0.0), "player_1": uniform}
    value, _ = best_response(kuhn, kuhn.policy(mixed), "player_1")
    assert value == pytest.approx(1 / 18)


def test_what_cannot_be_solved_says_so() -> None:
    with pytest.raises(ArenaError, match="liars_dice has more than 100 ends with these parameters: make it smaller"):
        extensive(arenas.make("liars_dice"), limit=100)
    with pytest.raises(ArenaError, match="reference draws beside its numbered deals"):
        extensive(arenas.make("reference"))
    with pytest.raises(ArenaError, match="two seats whose returns always have the same sum"):
        cfr_plus(extensive(arenas.make("lewis")), 1)


@pytest.mark.parametrize("seat", [0, 1])
def test_perfect_tictactoe_never_loses(seat: int) -> None:
    """Whatever the other marks."""
    arena = arenas.make("tictactoe")
    perfect = arena.scripts()["equilibrium"]
    arena.begin(0, case=0)
    open_, ends = [arena], 0
    while open_:
        now = open_.pop()
        for after, paid in _next(now, perfect, f"player_{seat}"):
            if paid is None:
                open_.append(after)
            else:
                assert paid >= 0
                ends += 1
    assert ends > 50


def _next(arena: Arena, script: Script, perfect: str) -> list[tuple[Arena, float | None]]:
    from arenas.solvers.play import ask

    (agent,) = arena.acting()
    memory = ask(arena, dict.fromkeys(arena.possible_agents, ()))[agent]
    chosen = script(memory) if agent == perfect else None
    found: list[tuple[Arena, float | None]] = []
    for word in memory.spec.steps[0]:
        if chosen in (None, (word,)):
            after = arena.copy()
            outcome = after.advance({agent: (word,)})
            found.append((after, outcome.rewards.get(perfect, 0.0) if outcome.done else None))
    return found
