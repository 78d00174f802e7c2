"""Compositional structure, three exact measures: tree reconstruction error, conflict count, best matching.

How far from a sum of parts are the messages (TRE), how often does a position contradict the attribute it speaks of
(conflicts), and how well does a dictionary of one symbol for one concept do (best matching)?
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from marl.metrics.compositionality import bags
from marl.metrics.information import Codes, columns

Vectors = Sequence[Sequence[str]]
Array = NDArray[np.float64]


def concepts(vectors: Vectors, names: Sequence[str] = ()) -> list[tuple[str, ...]]:
    """Return attribute values made unique: a value of two attributes gets the attribute's name."""
    seen = [set(column) for column in zip(*vectors, strict=True)]
    shared = {value for k, own in enumerate(seen) for other in seen[:k] for value in own & other}
    called = [names[k] if k < len(names) else f"attribute {k + 1}" for k in range(len(seen))]
    return [
        tuple(f"{called[k]} = {value}" if value in shared else value for k, value in enumerate(vector))
        for vector in vectors
    ]


def indicators(parts: Sequence[Codes]) -> Array:
    """Return one column for every value of every part, 1 where a sample has it [N, values]."""
    blocks = [np.eye(int(part.max(initial=0)) + 1)[part] for part in parts]
    return np.concatenate(blocks, 1)


def at_positions(messages: Vectors) -> Array:
    """Return one column for every symbol at every position; where a message is shorter, "nothing" is a symbol."""
    return indicators(columns(messages))


def in_bags(messages: Vectors) -> Array:
    """Return how often each symbol stands in each message [N, V], wherever it stands."""
    return np.stack(bags(messages), 1).astype(np.float64)


class CompositionFit:
    """Tree reconstruction error: how far messages are from sums of what their attributes contribute (Andreas 2019).

    TRE = min_eta sum_x |f(x) - sum_k eta(k, x_k)|^2 / sum_x |f(x) - mean f|^2, f(x) the features of a message, such as
    a 1 for each symbol at its position. 0 where messages are sums of parts, 1 where the parts of the meaning explain
    nothing. The composition is a sum and the distance the square: so the minimum is a least-squares solution, and does
    not depend on an optimiser. (Other compositions and distances give other errors.)

    The more values attributes have per sample, the more is explained by chance: compare with the permutation null.
    """

    def __init__(self, attributes: Vectors, features: Array) -> None:
        meant = indicators(columns(attributes))
        basis, scale, _ = np.linalg.svd(meant, full_matrices=False)
        self._basis = basis[:, scale > 1e-9 * scale.max(initial=0)]
        self._features = features - features.mean(0)
        self._spread = float((self._features**2).sum())

    def error(self, order: NDArray[np.int64] | None = None) -> float | None:
        """Return the error, with message `order[i]` given to meaning i; None where all messages are the same."""
        if self._spread < 1e-9:
            return None
        said = self._features if order is None else self._features[order]
        return max(1 - float(((self._basis.T @ said) ** 2).sum()) / self._spread, 0.0)


def conflicts(attributes: Sequence[Codes], positions: Sequence[Codes]) -> int | None:
    """Count the positions that contradict the attribute they speak of (Kucinski et al. 2020).

    Each attribute gets a position of its own; a symbol there stands for the value it most often goes with. The
    assignment with the fewest contradictions counts, found exactly (Hungarian method). None with fewer positions than
    attributes; with more, those without an attribute do not count.
    """
    from scipy.optimize import linear_sum_assignment

    if not attributes or len(positions) < len(attributes):
        return None
    cost = np.array([[_contradictions(a, position) for position in positions] for a in attributes])
    rows, places = linear_sum_assignment(cost)
    return int(cost[rows, places].sum())


def _contradictions(attribute: Codes, position: Codes) -> int:
    values = int(attribute.max(initial=0)) + 1
    together = np.bincount(position * values + attribute, minlength=values * (int(position.max(initial=0)) + 1))
    return len(position) - int(together.reshape(-1, values).max(1).sum())


class WordMatch(NamedTuple):
    """A symbol and its matched concept; they occur together in `together` of the symbol's `uses`."""

    word: int
    concept: int
    together: int
    uses: int


def best_matching(words: Array, meant: Array) -> tuple[float, list[WordMatch]]:
    """Match symbols and concepts one to one, maximising co-occurrence (Carmeli et al. 2024).

    Args:
        words: how often each word stands in each message [N, W].
        meant: 1 where a sample has a concept [N, C].

    Returns:
        The share of all concepts meant that stand beside the word matched with them, and the dictionary.
    """
    from scipy.optimize import linear_sum_assignment

    said = (words > 0).astype(np.float64)
    together = said.T @ meant
    rows, places = linear_sum_assignment(together, maximize=True)
    total = meant.sum()
    pairs = [
        WordMatch(w, c, int(together[w, c]), int(said[:, w].sum()))
        for w, c in zip(rows.tolist(), places.tolist(), strict=True)
        if together[w, c] > 0
    ]
    return float(together[rows, places].sum() / total) if total else 0.0, pairs
