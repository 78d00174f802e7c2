"""No code beats the anchors: brute force over all of them, for few objects."""

from __future__ import annotations

from itertools import combinations, product
from statistics import fmean

import numpy as np
import pytest

from arenas.games.signalling.discrimination import best_score
from arenas.games.signalling.reconstruction import best_fraction


@pytest.mark.parametrize("drawn", [2, 3, 5])
def test_no_way_to_sort_objects_into_classes_beats_best_score(drawn: int) -> None:
    """Brute force over all codes for five objects, with the expectation written out."""
    for messages in range(1, 7):
        values = [
            fmean(len({code[i] for i in shown}) / drawn for shown in combinations(range(5), drawn))
            for code in product(range(min(messages, 5)), repeat=5)
        ]
        assert max(values) == pytest.approx(best_score(5, messages, drawn - 1))


def test_best_score_counts_large_spaces_exactly() -> None:
    assert best_score(10**12, 10**12, 9) == best_score(10**12, 10**30, 9) == 1.0
    assert best_score(10**12, 10**6, 1) == pytest.approx(1 - 0.5 / 10**6, rel=1e-9)


def best_codebook(attributes: int, values: int, messages: int, dealt: list[tuple[int, ...]]) -> float:
    """Brute force over all code books."""
    space = list(product(range(values), repeat=attributes))
    right = np.array([[sum(a == b for a, b in zip(x, y, strict=True)) for y in dealt] for x in space])
    books = combinations(range(len(space)), messages)
    return max(float(right[list(book)].max(0).mean()) for book in books) / attributes


@pytest.mark.parametrize(
    ("attributes", "values", "exact"),
    [(1, 4, {1, 2, 3, 4}), (2, 3, set(range(1, 10))), (3, 2, {1, 2, 4, 7, 8})],
)
def test_no_code_book_beats_best_fraction(attributes: int, values: int, exact: set[int]) -> None:
    dealt = list(product(range(values), repeat=attributes))
    reached = set()
    for messages in range(1, len(dealt) + 1):
        bound = best_fraction(attributes, values, messages, len(dealt))
        best = best_codebook(attributes, values, messages, dealt)
        assert best <= bound + 1e-9
        if abs(best - bound) < 1e-9:
            reached.add(messages)
    assert reached >= exact


def test_best_fraction_bounds_codes_for_held_out_splits_too() -> None:
    dealt: list[tuple[int, ...]] = [x for x in product(range(3), repeat=2) if sum(x) % 3]
    for messages in range(1, 7):
        assert best_codebook(2, 3, messages, dealt) <= best_fraction(2, 3, messages, len(dealt)) + 1e-9
