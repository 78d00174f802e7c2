from __future__ import annotations

from itertools import product

import pytest

import arenas
from arenas.games.text.arithmetic import SOLVER, result


@pytest.mark.parametrize(("sum_", "value"), [("2 + 3 * 4", 14), ("2 * 3 - 4 * 5 - 1", -15), ("7", 7), ("0 * 9", 0)])
def test_products_come_first(sum_: str, value: int) -> None:
    assert result(tuple(sum_.split())) == value == eval(sum_)


def test_every_sum_is_a_case_and_the_last_word_counts() -> None:
    arena = arenas.make("arithmetic", most=2, terms=3, signs="-*")
    shown = set()
    for case in range(arena.cases):
        arena.begin(0, case=case)
        shown.add(arena.view(SOLVER))
        right = arena.hidden()
        assert arena.spec(SOLVER).parse(f"It is {right}.") is not None
        assert arena.copy().resolve({SOLVER: ("It", "is", f"{right}.")}).rewards == {SOLVER: 1.0}
        assert arena.copy().resolve({SOLVER: (f"{right}0",)}).rewards == {SOLVER: float(right == f"{right}0")}
    places = ("012", "-*", "012", "-*", "012")
    assert shown == {" ".join(words) for words in product(*places)}
