"""A morpheme inventory: which forms go with which meanings, found greedily (CSAR; Boldt & Mortensen 2025, 2510.03439).

Count every form (a run of symbols) and every meaning (one or two attribute values), score each pair by the mutual
information of their occurring, select the best, ablate it from the messages that have both, and repeat.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations
from math import log2
from typing import Final, NamedTuple

Words = tuple[str, ...]
LONGEST: Final = 3
"""Symbols of the longest form."""
WIDEST: Final = 2
"""Attribute values of the widest meaning."""
GONE: Final = ""
"""Stands where a symbol was taken away, so that what stood apart does not become neighbours."""


class Found(NamedTuple):
    """A form, its meaning, what the one tells about the other in bits when it was selected, and how often they met."""

    form: Words
    meaning: Words
    bits: float
    uses: int


def inventory(
    meanings: Sequence[Words], messages: Sequence[Words], *, least: float = 1e-3, most: int = 256
) -> list[Found]:
    """Return at most so many morphemes of a language, the most telling first, until none tells more than `least` bits.

    Of pairs that tell the same the longer form and the narrower meaning is taken, then the first in order. Cost grows
    with the number of morphemes times that of pairs.
    """
    forms, senses = [tuple(m) for m in messages], [frozenset(m) for m in meanings]
    found: list[Found] = []
    counts = _Counts(forms, senses)
    while len(found) < most and (best := counts.best()) is not None and best.bits > least:
        found.append(best)
        for n in range(len(forms)):
            if _at(forms[n], best.form) is not None and senses[n].issuperset(best.meaning):
                counts.count(forms[n], senses[n], -1)
                forms[n] = _without(forms[n], best.form)
                senses[n] = senses[n].difference(best.meaning)
                counts.count(forms[n], senses[n], 1)
    return found


class _Counts:
    """How many of the messages, or what is left of them, have each form, each meaning, and both."""

    def __init__(self, forms: Sequence[Words], senses: Sequence[frozenset[str]]) -> None:
        self.total = len(forms)
        self.forms: Counter[Words] = Counter()
        self.meanings: Counter[Words] = Counter()
        self.both: Counter[tuple[Words, Words]] = Counter()
        for form, sense in zip(forms, senses, strict=True):
            self.count(form, sense, 1)

    def count(self, form: Words, sense: frozenset[str], by: int) -> None:
        runs, wider = set(_runs(form)), list(_subsets(sense))
        for run in runs:
            self.forms[run] += by
            for meaning in wider:
                self.both[run, meaning] += by
        for meaning in wider:
            self.meanings[meaning] += by

    def best(self) -> Found | None:
        """Return the pair whose occurring shares most information, of those that attract each other."""
        found = []
        for (form, meaning), both in self.both.items():
            f, m = self.forms[form], self.meanings[meaning]
            if both > 0 and both * self.total > f * m:
                bits = _shared(both, f, m, self.total)
                found.append((-round(bits, 9), -len(form), len(meaning), form, meaning, both))
        if not found:
            return None
        bits, _, _, form, meaning, both = min(found)
        return Found(form, meaning, -bits, both)


def _shared(both: int, f: int, m: int, n: int) -> float:
    """I(form occurs; meaning occurs) in bits."""
    cells = ((both, f, m), (f - both, f, n - m), (m - both, n - f, m), (n - f - m + both, n - f, n - m))
    return sum(k / n * log2(k * n / (a * b)) for k, a, b in cells if k > 0)


def _runs(form: Words) -> Iterator[Words]:
    for start in range(len(form)):
        for stop in range(start + 1, min(start + LONGEST, len(form)) + 1):
            if GONE in form[start:stop]:
                break
            yield form[start:stop]


def _subsets(sense: frozenset[str]) -> Iterator[Words]:
    for size in range(1, WIDEST + 1):
        yield from combinations(sorted(sense), size)


def _at(form: Words, part: Words) -> int | None:
    places = range(len(form) - len(part) + 1)
    return next((place for place in places if form[place : place + len(part)] == part), None)


def _without(form: Words, part: Words) -> Words:
    place = _at(form, part)
    assert place is not None
    return (*form[:place], *(GONE,) * len(part), *form[place + len(part) :])


def synonymy(found: Sequence[Found]) -> float | None:
    """Return H(form | meaning) in bits over the uses of the morphemes: 0 where every meaning has one form."""
    return _doubt([(each.meaning, each.form, each.uses) for each in found])


def polysemy(found: Sequence[Found]) -> float | None:
    """Return H(meaning | form) in bits over the uses of the morphemes: 0 where every form has one meaning."""
    return _doubt([(each.form, each.meaning, each.uses) for each in found])


def _doubt(uses: Sequence[tuple[Words, Words, int]]) -> float | None:
    total = sum(count for *_, count in uses)
    if not total:
        return None
    given: Counter[Words] = Counter()
    for known, _, count in uses:
        given[known] += count
    both: Counter[tuple[Words, Words]] = Counter()
    for known, other, count in uses:
        both[known, other] += count
    return max(-sum(k / total * log2(k / given[known]) for (known, _), k in both.items()), 0.0)
