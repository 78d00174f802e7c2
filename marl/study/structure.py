"""Is a language compositional? Topographic similarity and disentanglement, defined also where a language collapsed.

Each measure is None where it has no value: a language with one message has no structure to speak of, and one attribute
cannot be told from another. (EGG's versions give nan or raise there: Kharitonov et al. 2019.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from marl.study.information import Codes, columns, entropy, mutual_information

Vectors = Sequence[Sequence[str]]
Array = NDArray[np.float64]


def hamming(a: Sequence[str], b: Sequence[str]) -> float:
    """Return the share of places at which two sequences differ; beyond the end of the shorter one they do."""
    longest = max(len(a), len(b))
    same = sum(x == y for x, y in zip(a, b, strict=False))
    return (longest - same) / longest if longest else 0.0


def levenshtein(a: Sequence[str], b: Sequence[str]) -> float:
    """Return the edit distance over the mean length, edits / ((|a| + |b|) / 2), as EGG does."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        corner, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (x != y))
    return 2 * row[-1] / (len(a) + len(b)) if a or b else 0.0


def ranks(values: Array) -> Array:
    """Rank from 0; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    shared: Array = (last - (counts + 1) / 2)[inverse.reshape(-1)]
    return shared


def spearman(x: Array, y: Array) -> float | None:
    """Return the correlation of the ranks; None when one side is constant."""
    if len(x) < 2:
        return None
    rx, ry = ranks(x), ranks(y)
    rx, ry = rx - rx.mean(), ry - ry.mean()
    scale = float(np.sqrt((rx @ rx) * (ry @ ry)))
    return float(rx @ ry) / scale if scale > 1e-12 else None


class Topography:
    """Topographic similarity: do similar meanings have similar messages? (Brighton & Kirby 2006).

    rho = Spearman({d(x_i, x_k)}, {d(m_i, m_k)}) over all pairs i < k; Hamming distance between meanings, normalised
    edit distance between messages. Distances are computed once, so that `similarity` under many orders is cheap.

    Traps: it depends on the distances chosen; it misses compositionality that is not positional (Korbak et al. 2020);
    it need not go with generalisation (Chaabouni et al. 2020). Cost grows with N^2: beyond `most` meanings a seeded
    sample is taken.
    """

    def __init__(self, meanings: Vectors, messages: Vectors, *, most: int = 256, seed: int = 0) -> None:
        chosen = list(range(len(meanings)))
        if len(chosen) > most:
            chosen = sorted(np.random.default_rng(seed).choice(len(chosen), most, replace=False).tolist())
        self.size = len(chosen)
        self._pairs = np.triu_indices(self.size, 1)
        self._messages = _distances([messages[i] for i in chosen], levenshtein)
        self._meanings = _distances([meanings[i] for i in chosen], hamming)[self._pairs]

    def similarity(self, order: NDArray[np.int64] | None = None) -> float | None:
        """Return rho, with message `order[i]` given to meaning i; None where a side is constant (collapse)."""
        order = np.arange(self.size) if order is None else order
        i, k = self._pairs
        return spearman(self._meanings, self._messages[order[i], order[k]])


def _distances(items: Vectors, distance: Callable[[Sequence[str], Sequence[str]], float]) -> Array:
    """Return all pairwise distances [N, N]; each pair of different items is measured once."""
    distinct = list(dict.fromkeys(map(tuple, items)))
    table = np.zeros((len(distinct), len(distinct)))
    for i, item in enumerate(distinct):
        for k in range(i):
            table[i, k] = table[k, i] = distance(item, distinct[k])
    place = {item: i for i, item in enumerate(distinct)}
    index = np.array([place[tuple(item)] for item in items], np.int64)
    spread: Array = table[index[:, None], index]
    return spread


def topographic_similarity(meanings: Vectors, messages: Vectors) -> float | None:
    """Return the topographic similarity of a language; see `Topography`."""
    return Topography(meanings, messages).similarity()


def positional_disentanglement(attributes: Vectors, messages: Vectors) -> float | None:
    """Does each position speak of one attribute? (posdis; Chaabouni et al. 2020).

    posdis = 1/L' sum_j [I(m_j; a1_j) - I(m_j; a2_j)] / H(m_j), a1_j and a2_j the attributes that share most with
    position j; L' counts the positions that are not constant. None with fewer than two attributes that vary, or no
    such position. Plug-in mutual information makes it noisy for few samples: compare with its permutation null.
    """
    return _disentanglement(columns(messages), columns(attributes))


def bag_disentanglement(attributes: Vectors, messages: Vectors) -> float | None:
    """Does each symbol speak of one attribute, wherever it stands? (bosdis; Chaabouni et al. 2020).

    As `positional_disentanglement`, with the count n_v of symbol v in the message in place of the symbol at j.
    """
    symbols = sorted({symbol for message in messages for symbol in message})
    counts = [Counter(message) for message in messages]
    bags = [np.array([count[symbol] for count in counts], np.int64) for symbol in symbols]
    return _disentanglement(bags, columns(attributes))


def _disentanglement(parts: Sequence[Codes], attributes: Sequence[Codes]) -> float | None:
    varying = [attribute for attribute in attributes if entropy(attribute) > 0]
    if len(varying) < 2:
        return None
    gaps = []
    for part in parts:
        spread = entropy(part)
        if spread < 1e-12:
            continue
        second, first = sorted(mutual_information(part, attribute) for attribute in varying)[-2:]
        gaps.append((first - second) / spread)
    return float(np.mean(gaps)) if gaps else None
