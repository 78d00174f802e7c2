"""Linear probe that decodes meanings from messages, tested on held-out meanings."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from marl.metrics.information import Codes

Array = NDArray[np.float64]


WIDE: Final = 1024
"""Features up to which they are taken as they are."""


def compact(features: Array) -> Array:
    """Return features with the same inner products, no more than samples: to a ridge regression they are the same."""
    if features.shape[1] <= max(WIDE, len(features)):
        return features
    left, scale, _ = np.linalg.svd(features, full_matrices=False)
    return np.asarray(left * scale)


class Probe:
    """Ridge regression from a message's features to each attribute, tested on meanings it was not fitted to.

    A fold holds out whole meanings, so that remembering is no use: with several attributes what counts is reading new
    combinations. The gain is accuracy less that of always guessing the value most frequent in the fold's training part.
    """

    def __init__(self, features: Array, meanings: Codes, *, folds: int = 5, ridge: float = 1e-2, seed: int = 0) -> None:
        kinds = int(meanings.max(initial=-1)) + 1
        fold = np.random.default_rng(seed).permutation(kinds) % min(folds, max(kinds, 1))
        self._parts = []
        with_one = np.concatenate([features, np.ones((len(features), 1))], 1)
        for number in range(min(folds, kinds)):
            test = fold[meanings] == number
            x = with_one[~test]
            fit = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T)
            self._parts.append((test, with_one[test] @ fit))

    def gain(self, attribute: Codes) -> float:
        """Return the accuracy on held-out meanings less that of the majority guess, mean over samples."""
        right = majority = 0
        targets = np.eye(int(attribute.max(initial=0)) + 1)[attribute]
        for test, read in self._parts:
            right += int(((read @ targets[~test]).argmax(1) == attribute[test]).sum())
            majority += int((attribute[test] == targets[~test].sum(0).argmax()).sum())
        return (right - majority) / max(len(attribute), 1)
