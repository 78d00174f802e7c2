"""Morpheme inventory: forms paired with meanings, greedily (CSAR; Boldt & Mortensen 2025, 2510.03439).

Count every form (a run of symbols) and every meaning (one or two attribute values), score each pair by the mutual
information of their occurring, select the best, ablate it from the messages that have both, and repeat.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations
from math import log2
from typing import Final, NamedTuple

Symbols = tuple[str, ...]
LONGEST: Final = 3
"""Symbols of the longest form."""
WIDEST: Final = 2
"""Attribute values of the widest meaning."""
GONE: Final = ""
"""Stands where a symbol was taken away, so that what stood apart does not become neighbours."""


class FormMeaning(NamedTuple):
    """A form, its meaning, their mutual information in bits when selected, and how often they occurred together."""

    form: Symbols
    meaning: Symbols
    bits: float
    uses: int


def inventory(
    meanings: Sequence[Symbols], messages: Sequence[Symbols], *, least: float = 1e-3, most: int = 256
) -> list[FormMeaning]:
    """Return up to `most` morphemes, the most informative first, each worth more than `least` bits.

    Of pairs that tell the same the longer form and the narrower meaning is taken, then the first in order. Cost grows
    with the number of morphemes times that of pairs.
    """
    forms, senses = [tuple(m) for m in messages], [frozenset(m) for m in meanings]
    selected: list[FormMeaning] = []
    counts = _Counts(forms, senses)
    while len(selected) < most and (best := counts.best()) is not None and best.bits > least:
        selected.append(best)
        for n in range(len(forms)):
            if _at(forms[n], best.form) is not None and senses[n].issuperset(best.meaning):
                counts.count(forms[n], senses[n], -1)
                forms[n] = _without(forms[n], best.form)
                senses[n] = senses[n].difference(best.meaning)
                counts.count(forms[n], senses[n], 1)
    return selected


class _Counts:
    """Counts of messages (or their remainders) with each form, each meaning, and both."""

    def __init__(self, forms: Sequence[Symbols], senses: Sequence[frozenset[str]]) -> None:
        self.total = len(forms)
        self.forms: Counter[Symbols] = Counter()
        self.meanings: Counter[Symbols] = Counter()
        self.both: Counter[tuple[Symbols, Symbols]] = Counter()
        for form, sense in zip(forms, senses, strict=True):
            self.count(form, sense, 1)

    def count(self, form: Symbols, sense: frozenset[str], by: int) -> None:
        runs, wider = set(_runs(form)), list(_subsets(sense))
        for run in runs:
            self.forms[run] += by
            for meaning in wider:
                self.both[run, meaning] += by
        for meaning in wider:
            self.meanings[meaning] += by

    def best(self) -> FormMeaning | None:
        """Return the positively associated pair with the most mutual information."""
        candidates = []
        for (form, meaning), both in self.both.items():
            f, m = self.forms[form], self.meanings[meaning]
            if both > 0 and both * self.total > f * m:
                bits = _shared(both, f, m, self.total)
                candidates.append((-round(bits, 9), -len(form), len(meaning), form, meaning, both))
        if not candidates:
            return None
        bits, _, _, form, meaning, both = min(candidates)
        return FormMeaning(form, meaning, -bits, both)


def _shared(both: int, f: int, m: int, n: int) -> float:
    """I(form occurs; meaning occurs) in bits."""
    cells = ((both, f, m), (f - both, f, n - m), (m - both, n - f, m), (n - f - m + both, n - f, n - m))
    return sum(k / n * log2(k * n / (a * b)) for k, a, b in cells if k > 0)


def _runs(form: Symbols) -> Iterator[Symbols]:
    for start in range(len(form)):
        for stop in range(start + 1, min(start + LONGEST, len(form)) + 1):
            if GONE in form[start:stop]:
                break
            yield form[start:stop]


def _subsets(sense: frozenset[str]) -> Iterator[Symbols]:
    for size in range(1, WIDEST + 1):
        yield from combinations(sorted(sense), size)


def _at(form: Symbols, part: Symbols) -> int | None:
    places = range(len(form) - len(part) + 1)
    return next((place for place in places if form[place : place + len(part)] == part), None)


def _without(form: Symbols, part: Symbols) -> Symbols:
    place = _at(form, part)
    assert place is not None
    return (*form[:place], *(GONE,) * len(part), *form[place + len(part) :])


def synonymy(inventory: Sequence[FormMeaning]) -> float | None:
    """Return H(form | meaning) in bits over the uses of the morphemes: 0 where every meaning has one form."""
    return _doubt([(morpheme.meaning, morpheme.form, morpheme.uses) for morpheme in inventory])


def polysemy(inventory: Sequence[FormMeaning]) -> float | None:
    """Return H(meaning | form) in bits over the uses of the morphemes: 0 where every form has one meaning."""
    return _doubt([(morpheme.form, morpheme.meaning, morpheme.uses) for morpheme in inventory])


def _doubt(uses: Sequence[tuple[Symbols, Symbols, int]]) -> float | None:
    total = sum(count for *_, count in uses)
    if not total:
        return None
    totals: Counter[Symbols] = Counter()
    for condition, _, count in uses:
        totals[condition] += count
    both: Counter[tuple[Symbols, Symbols]] = Counter()
    for condition, other, count in uses:
        both[condition, other] += count
    return max(-sum(k / total * log2(k / totals[condition]) for (condition, _), k in both.items()), 0.0)
