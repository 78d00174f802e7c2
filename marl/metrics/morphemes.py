"""Morpheme inventory: forms paired with meanings, greedily (CSAR; Boldt & Mortensen 2025, 2510.03439).

Count every form (a run of symbols) and every meaning (one or two attribute values), score each pair by the mutual
information of their occurring, select the best, ablate it from the messages that have both, and repeat.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from math import comb, log2
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Symbols = tuple[str, ...]
LONGEST: Final = 3
"""Symbols of the longest form."""
WIDEST: Final = 2
"""Attribute values of the widest meaning."""
MOST_PAIRS: Final = 2**25
"""Pairs of a form and a meaning that are worth counting: 128 MiB of counts."""
ROWS: Final = 512
"""Forms whose pairs are looked at together."""
MARGIN: Final = 1e-8
"""Bits by which pairs may differ and still tell the same, as bits are rounded to 9 digits."""
GONE: Final = ""
"""Stands where a symbol was taken away, so that what stood apart does not become neighbours."""


class FormMeaning(NamedTuple):
    """A form, its meaning, their mutual information in bits when selected, and how often they occurred together."""

    form: Symbols
    meaning: Symbols
    bits: float
    uses: int


def size(meanings: Sequence[Symbols], messages: Sequence[Symbols]) -> int:
    """Return an upper bound of the pairs of a form and a meaning that `inventory` counts: compare with `MOST_PAIRS`."""
    narrow = len({value for meaning in meanings for value in meaning})
    wider = min(sum(comb(len(set(meaning)), 2) for meaning in meanings), comb(narrow, 2))
    forms = {run for message in messages for run in _runs(tuple(message))}
    return len(forms) * (narrow + wider)


def inventory(
    meanings: Sequence[Symbols], messages: Sequence[Symbols], *, least: float = 1e-3, most: int = 256
) -> list[FormMeaning]:
    """Return up to `most` morphemes, the most informative first, each worth more than `least` bits.

    Of pairs that tell the same the longer form and the narrower meaning is taken, then the first in order. Memory grows
    with the number of pairs, time with what a morpheme changes among them.
    """
    selected: list[FormMeaning] = []
    if not messages:
        return selected
    counts = _Counts([tuple(m) for m in messages], [frozenset(m) for m in meanings])
    while len(selected) < most and (best := counts.best()) is not None and best.bits > least:
        selected.append(best)
        counts.ablate(best)
    return selected


class _Counts:
    """Counts of messages (or their remainders) with each form, each meaning, and both.

    Forms and meanings are numbered in the order in which ties are broken. For each form the most bits that it shares
    with a meaning are kept, so that an ablation has to look only at forms and meanings whose counts it changed.
    """

    def __init__(self, forms: list[Symbols], senses: list[frozenset[str]]) -> None:
        self._forms, self._senses, self._total = forms, senses, len(forms)
        self._runs = [set(_runs(form)) for form in forms]
        self._subsets = [set(_subsets(sense)) for sense in senses]
        self._form_names = sorted(set().union(*self._runs), key=lambda run: (-len(run), run))
        self._meaning_names = sorted(set().union(*self._subsets), key=lambda subset: (len(subset), subset))
        self._form_index = {run: i for i, run in enumerate(self._form_names)}
        self._meaning_index = {subset: i for i, subset in enumerate(self._meaning_names)}
        with_form = _indicators(self._runs, self._form_index)  # [messages, forms]
        with_meaning = _indicators(self._subsets, self._meaning_index)  # [messages, meanings]
        self._form_counts = with_form.sum(0).astype(np.int64)
        self._meaning_counts = with_meaning.sum(0).astype(np.int64)
        self._both = np.empty((len(self._form_names), len(self._meaning_names)), np.int32)
        for part in _parts(np.arange(len(self._both))):  # exact: counts are far below 2^24
            self._both[part] = with_form[:, part].T @ with_meaning
        k = np.arange(self._total + 1)
        self._table = k * np.log2(np.maximum(k, 1))  # k log2 k
        self._most = np.full(len(self._both), -np.inf)
        self._argmost = np.zeros(len(self._both), np.int64)
        self._renew(np.arange(len(self._both)))

    def best(self) -> FormMeaning | None:
        """Return the positively associated pair with the most mutual information."""
        if self._both.size == 0 or (most := self._most.max()) == -np.inf:
            return None
        near = np.flatnonzero(self._most >= most - MARGIN)
        parts = [(part, np.nonzero(self._bits(part) >= most - MARGIN)) for part in _parts(near)]
        rows = np.concatenate([part[i] for part, (i, _) in parts])
        columns = np.concatenate([j for _, (_, j) in parts])
        counts = np.stack((self._both[rows, columns], self._form_counts[rows], self._meaning_counts[columns]))
        alike, inverse = np.unique(counts, axis=1, return_inverse=True)
        bits = [round(_shared(int(both), int(f), int(m), self._total), 9) for both, f, m in alike.T]
        exact = np.array(bits)[inverse.reshape(-1)]
        tied = np.flatnonzero(exact == exact.max())
        form_lengths = np.array([len(self._form_names[i]) for i in rows[tied]])
        meaning_lengths = np.array([len(self._meaning_names[i]) for i in columns[tied]])
        first = tied[np.lexsort((columns[tied], rows[tied], meaning_lengths, -form_lengths))[0]]
        form, meaning = self._form_names[rows[first]], self._meaning_names[columns[first]]
        return FormMeaning(form, meaning, float(exact[first]), int(counts[0, first]))

    def ablate(self, pair: FormMeaning) -> None:
        """Take a form and its meaning out of the messages that have both."""
        rows: set[int] = set()
        columns: set[int] = set()
        for n, (runs, subsets) in enumerate(zip(self._runs, self._subsets, strict=True)):
            if pair.form in runs and pair.meaning in subsets:
                self._forms[n] = _without(self._forms[n], pair.form)
                self._senses[n] = self._senses[n].difference(pair.meaning)
                left = set(_runs(self._forms[n])), set(_subsets(self._senses[n]))
                gone_rows, gone_columns = self._replace(n, *left)
                rows.update(gone_rows)
                columns.update(gone_columns)
        changed = np.fromiter(sorted(columns), np.int64, len(columns))
        if len(changed):
            rows.update(np.flatnonzero(np.isin(self._argmost, changed)).tolist())
            for part in _parts(np.arange(len(self._both))):
                bits = self._bits(part, changed)
                most, where = bits.max(1), changed[bits.argmax(1)]
                better = most > self._most[part]
                self._most[part[better]], self._argmost[part[better]] = most[better], where[better]
        self._renew(np.fromiter(sorted(rows), np.int64, len(rows)))

    def _replace(self, n: int, runs: set[Symbols], subsets: set[Symbols]) -> tuple[list[int], list[int]]:
        """Count message n with fewer forms and meanings; returns the forms and the meanings that it has no longer."""
        was = [self._form_index[run] for run in self._runs[n]], [self._meaning_index[s] for s in self._subsets[n]]
        now = [self._form_index[run] for run in runs], [self._meaning_index[s] for s in subsets]
        self._both[np.ix_(*was)] -= 1
        self._both[np.ix_(*now)] += 1
        rows, columns = list(set(was[0]).difference(now[0])), list(set(was[1]).difference(now[1]))
        self._form_counts[rows] -= 1
        self._meaning_counts[columns] -= 1
        self._runs[n], self._subsets[n] = runs, subsets
        return rows, columns

    def _renew(self, rows: Array) -> None:
        """Find the most bits of forms anew."""
        if not self._both.shape[1]:
            return
        for part in _parts(rows):
            bits = self._bits(part)
            self._argmost[part] = bits.argmax(1)
            self._most[part] = bits.max(1)

    def _bits(self, rows: Array | slice, columns: Array | slice = slice(None)) -> Array:
        """Return I(form occurs; meaning occurs) of pairs, -inf where they are not positively associated."""
        n, table = self._total, self._table
        f, m = self._form_counts[rows], self._meaning_counts[columns]
        both = self._both[rows][:, columns]
        bits = np.full(both.shape, -np.inf)
        i, j = np.nonzero(both.astype(np.int64) * n > f[:, None] * m)
        k, f, m = both[i, j], f[i], m[j]
        shared = table[k] + table[f - k] + table[m - k] + table[n - f - m + k] + table[n]
        bits[i, j] = (shared - table[f] - table[n - f] - table[m] - table[n - m]) / n
        return bits


def _parts(rows: Array) -> Iterator[Array]:
    """Yield rows in parts that fit into memory with all that is computed of them."""
    for start in range(0, len(rows), ROWS):
        yield rows[start : start + ROWS]


def _indicators(sets: Sequence[set[Symbols]], index: Mapping[Symbols, int]) -> Array:
    """Return which sets have which items, as floats for a product of matrices."""
    result = np.zeros((len(sets), len(index)), np.float32)
    for n, items in enumerate(sets):
        result[n, [index[item] for item in items]] = 1
    return result


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
