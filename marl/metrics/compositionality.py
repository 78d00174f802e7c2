"""Compositionality measures: topographic similarity and disentanglement, None where a language has collapsed.

Each measure is None where it has no value: a language with one message has no structure to speak of, and one attribute
cannot be told from another. (EGG's versions give nan or raise there: Kharitonov et al. 2019.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from marl.metrics.information import Codes, columns, entropy, mutual_information
from marl.metrics.measure import Interval

Vectors = Sequence[Sequence[str]]
Array = NDArray[np.float64]
MOST_PAIRS: Final = 50_000
"""Pairs of messages that topographic similarity compares: all of 316 messages."""
MOST_DISTINCT: Final = 1000
"""Different messages up to which all their edit distances are tabulated."""


def hamming(a: Sequence[str], b: Sequence[str]) -> float:
    """Return the share of positions at which two sequences differ, those beyond the shorter one included."""
    return float(_hamming([tuple(a), tuple(b)])(*_ONE)[0])


def levenshtein(a: Sequence[str], b: Sequence[str]) -> float:
    """Return the edit distance over the mean length, edits / ((|a| + |b|) / 2), as EGG does."""
    return float(_edits([tuple(a), tuple(b)])(*_ONE)[0])


def jaccard(a: Sequence[str], b: Sequence[str]) -> float:
    """Return the Jaccard distance of the symbol sets of two sequences; order and repetition do not count."""
    return float(_jaccard([tuple(a), tuple(b)])(*_ONE)[0])


Between = Callable[[Codes, Codes], Array]
"""Distances [P] between the items i [P] and k [P]."""
_ONE = (np.array([0]), np.array([1]))


def _hamming(items: Vectors) -> Between:
    lengths = np.array([len(item) for item in items], np.int64)
    table = np.full((len(items), int(lengths.max(initial=0))), -1, np.int64)
    for j, column in enumerate(columns(items, empty="")):
        table[:, j] = np.where(j < lengths, column, -1)

    def between(i: Codes, k: Codes) -> Array:
        differing: Array = (table[i] != table[k]).sum(1) / np.maximum(np.maximum(lengths[i], lengths[k]), 1)
        return differing

    return between


def _edits(items: Vectors) -> Between:
    """Edit distance by rapidfuzz, on symbols mapped to characters; up to MOST_DISTINCT different items use a table."""
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist, cpdist

    letters: dict[str, str] = {}
    texts = ["".join(letters.setdefault(symbol, chr(1 + len(letters))) for symbol in item) for item in items]
    lengths = np.array([len(text) for text in texts], np.int64)
    distinct = list(dict.fromkeys(texts))
    place = {text: n for n, text in enumerate(distinct)}
    index = np.array([place[text] for text in texts], np.int64)
    few = len(distinct) <= MOST_DISTINCT
    table = cdist(distinct, distinct, scorer=Levenshtein.distance, dtype=np.int32) if few else None

    def between(i: Codes, k: Codes) -> Array:
        if table is None:
            first, second = ([texts[n] for n in side.tolist()] for side in (i, k))
            edits = cpdist(first, second, scorer=Levenshtein.distance, dtype=np.int32)
        else:
            edits = table[index[i], index[k]]
        return np.asarray(2 * edits / np.maximum(lengths[i] + lengths[k], 1), np.float64)

    return between


def _jaccard(items: Vectors) -> Between:
    words = {word: n for n, word in enumerate(sorted({word for item in items for word in item}))}
    table = np.zeros((len(items), max(len(words), 1)), bool)
    for n, item in enumerate(items):
        table[n, [words[word] for word in item]] = True

    def between(i: Codes, k: Codes) -> Array:
        either = (table[i] | table[k]).sum(1)
        distance: Array = 1 - np.divide((table[i] & table[k]).sum(1), either, out=np.ones(len(i)), where=either > 0)
        return distance

    return between


Distance = Literal["hamming", "edit", "jaccard"]
DISTANCES: Final[dict[Distance, Callable[[Vectors], Between]]] = {
    "hamming": _hamming,
    "edit": _edits,
    "jaccard": _jaccard,
}


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

    rho = Spearman({d(x_i, x_k)}, {d(m_i, m_k)}) over pairs i < k; Hamming distance between meanings, normalised edit
    distance between messages, unless others are chosen.

    There are N (N - 1) / 2 pairs. Of more than `most` a seeded sample is taken, and `interval` says how well it stands
    for all of them.

    Traps: it depends on the distances chosen; it misses compositionality that is not positional (Korbak et al. 2020);
    it need not go with generalisation (Chaabouni et al. 2020).
    """

    def __init__(
        self,
        meanings: Vectors,
        messages: Vectors,
        *,
        most: int = MOST_PAIRS,
        seed: int = 0,
        meaning: Distance = "hamming",
        message: Distance = "edit",
    ) -> None:
        self.size = len(meanings)
        self.all = self.size * (self.size - 1) // 2
        self.sampled = self.all > most
        if self.sampled:
            rng = np.random.default_rng(seed)
            first = rng.integers(self.size, size=most)
            self._pairs = first, (first + rng.integers(1, self.size, size=most)) % self.size
        else:
            self._pairs = np.triu_indices(self.size, 1)
        self._between = DISTANCES[message](messages)
        self._meanings = DISTANCES[meaning](meanings)(*self._pairs)
        self._seed = seed

    @property
    def pairs(self) -> int:
        """Number of pairs that are compared."""
        return len(self._meanings)

    def similarity(self, order: NDArray[np.int64] | None = None) -> float | None:
        """Return rho, with message `order[i]` given to meaning i; None where a side is constant (collapse)."""
        i, k = self._pairs
        return spearman(self._meanings, self._between(*((i, k) if order is None else (order[i], order[k]))))

    def interval(self, replications: int = 200, level: float = 0.95) -> Interval | None:
        """Return the bootstrap interval of rho over the sampled pairs; None where all pairs were compared.

        The pairs are drawn independently of each other, so this is about them alone. That other meanings might have
        been seen is another matter, of which it says nothing.
        """
        if not self.sampled:
            return None
        rng = np.random.default_rng([self._seed, 1])
        messages = self._between(*self._pairs)
        drawn = (rng.integers(self.pairs, size=self.pairs) for _ in range(replications))
        rhos = [rho for own in drawn if (rho := spearman(self._meanings[own], messages[own])) is not None]
        if not rhos:
            return None
        low, high = np.quantile(rhos, [(1 - level) / 2, (1 + level) / 2])
        of = f"bootstrap over {self.pairs} of {self.all} pairs"
        return Interval(low=float(low), high=float(high), level=level, of=of)


def topographic_similarity(meanings: Vectors, messages: Vectors) -> float | None:
    """Return the topographic similarity of a language; see `Topography`."""
    return Topography(meanings, messages).similarity()


def positional_disentanglement(attributes: Vectors, messages: Vectors) -> float | None:
    """Positional disentanglement: whether each position encodes one attribute (posdis; Chaabouni et al. 2020).

    posdis = 1/L' sum_j [I(m_j; a1_j) - I(m_j; a2_j)] / H(m_j), a1_j and a2_j the attributes that share most with
    position j; L' counts the positions that are not constant. None with fewer than two attributes that vary, or no
    such position. Plug-in mutual information makes it noisy for few samples: compare with its permutation null.
    """
    return disentanglement(columns(messages), columns(attributes))


def bag_disentanglement(attributes: Vectors, messages: Vectors) -> float | None:
    """Bag-of-symbols disentanglement: whether each symbol encodes one attribute (bosdis; Chaabouni et al. 2020).

    As `positional_disentanglement`, with the count n_v of symbol v in the message in place of the symbol at j.
    """
    return disentanglement(bags(messages), columns(attributes))


def bags(messages: Vectors) -> list[Codes]:
    """Return the count of each symbol in each message, one array [N] per symbol."""
    symbols = sorted({symbol for message in messages for symbol in message})
    counts = [Counter(message) for message in messages]
    return [np.array([count[symbol] for count in counts], np.int64) for symbol in symbols]


def disentanglement(parts: Sequence[Codes], attributes: Sequence[Codes]) -> float | None:
    """Return the information gap of each part between its two best attributes, over its entropy; mean over parts.

    None with fewer than two attributes that vary, or no part that does.
    """
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
