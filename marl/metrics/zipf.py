"""Zipf's laws: rank and frequency, and abbreviation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marl.metrics.compositionality import spearman

Array = NDArray[np.float64]
FEWEST: Final = 5
"""Different words below which a line through their frequencies tells nothing."""


class Zipf(NamedTuple):
    """log2 f = c - slope * log2 rank, by least squares, and the share of the variance it explains."""

    slope: float
    explained: float


def zipf(words: Iterable[Hashable]) -> Zipf | None:
    """Fit Zipf's law of rank and frequency; None for fewer than five different words or equal frequencies.

    Natural languages have a slope near 1. A fit through a dozen symbols means little, whatever it is.
    """
    counts = np.array(sorted(Counter(words).values(), reverse=True), np.float64)
    if len(counts) < FEWEST or counts[0] == counts[-1]:
        return None
    x, y = np.log2(np.arange(1, len(counts) + 1)), np.log2(counts)
    x, y = x - x.mean(), y - y.mean()
    return Zipf(-float(x @ y / (x @ x)), float((x @ y) ** 2 / ((x @ x) * (y @ y))))


class Abbreviation:
    """The law of abbreviation: are frequent messages short? (Zipf 1949; Chaabouni et al. 2019).

    rho = Spearman(frequency, length) over the different messages: below 0 where the law holds. Emergent codes often
    have it the other way round as long as length costs nothing.
    """

    def __init__(self, messages: Sequence[Sequence[str]]) -> None:
        counts = Counter(map(tuple, messages))
        self.counts = np.array(list(counts.values()), np.float64)
        self.lengths = np.array([len(message) for message in counts], np.float64)
        self.size = len(counts)

    def correlation(self, order: NDArray[np.int64] | None = None) -> float | None:
        """Return rho, with length `order[i]` given to message i; None where frequencies or lengths are all equal."""
        return spearman(self.counts, self.lengths if order is None else self.lengths[order])

    def mean_length(self, order: NDArray[np.int64] | None = None) -> float:
        """Return the mean message length, in symbols."""
        lengths = self.lengths if order is None else self.lengths[order]
        return float(self.counts @ lengths / max(self.counts.sum(), 1))

    @property
    def shortest(self) -> float:
        """The mean length if the same lengths were assigned so that the most frequent message is the shortest."""
        return float(np.sort(self.counts)[::-1] @ np.sort(self.lengths) / max(self.counts.sum(), 1))
