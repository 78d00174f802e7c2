"""Speaker consistency and context independence: measures on (message, act, concept).

Two different things are called speaker consistency: the mutual information of an agent's own messages and acts (Lowe et
al. 2019), which is `information.mutual_information`, and Jaques et al.'s (2019) index here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from marl.metrics.information import Codes, entropy, occurring

Array = NDArray[np.float64]


def speaker_consistency(message: Codes, act: Codes) -> float | None:
    """Return how well message and act of a speaker predict each other, from 0 to 1 (Jaques et al. 2019).

    SC = 1/2 [ mean_m (1 - H(A | m) / log2 |A|) + mean_a (1 - H(M | a) / log2 |M|) ], over the messages and acts that
    occur; plug-in. None where there is one message or one act only. Every message counts alike, also one that was sent
    once, which then seems perfectly consistent: compare with the permutation null.
    """
    if occurring(message) < 2 or occurring(act) < 2:
        return None
    both = ((message, act), (act, message))
    sides = [
        np.mean([1 - entropy(of[condition == value]) / np.log2(occurring(of)) for value in np.unique(condition)])
        for condition, of in both
    ]
    return float(np.mean(sides))


def context_independence(concepts: Sequence[Sequence[str]], messages: Sequence[Sequence[str]]) -> float | None:
    """Context independence, from 0 to 1: whether each concept has a symbol of its own (Bogin et al. 2018).

    CI = 1/|C| sum_c p(v_c | c) p(c | v_c), v_c = argmax_v p(c | v). With several concepts in a meaning,
    IBM model 1 aligns symbols and concepts, as in the paper; with one concept and one symbol these are counts. None
    without a symbol or a concept. Penalises synonyms.
    """
    vocabulary = sorted({symbol for message in messages for symbol in message})
    names = sorted({concept for meaning in concepts for concept in meaning})
    if not vocabulary or not names:
        return None
    said, meant = _bag(messages, vocabulary), _bag(concepts, names)
    symbol_given_concept = align(meant, said)  # [C, V]
    concept_given_symbol = align(said, meant)  # [V, C]
    best = concept_given_symbol.argmax(0)
    places = np.arange(len(names))
    return float((symbol_given_concept[places, best] * concept_given_symbol[best, places]).mean())


def _bag(items: Sequence[Sequence[str]], words: Sequence[str]) -> Array:
    """Return the count of each word in each item [N, W]."""
    place = {word: i for i, word in enumerate(words)}
    counts = np.zeros((len(items), len(words)))
    for n, item in enumerate(items):
        for word in item:
            counts[n, place[word]] += 1
    return counts


def align(source: Array, target: Array, rounds: int = 30) -> Array:
    """Return p(target word | source word) [S, T] by expectation maximisation (IBM model 1, Brown et al. 1993).

    Args:
        source: counts of source words in each pair [N, S].
        target: counts of target words [N, T].
        rounds: of expectation and maximisation.
    """
    table = np.full((source.shape[1], target.shape[1]), 1 / max(target.shape[1], 1))
    for _ in range(rounds):
        expected = source @ table  # nothing where a pair has no source word
        share = np.divide(target, expected, out=np.zeros_like(target), where=expected > 0)
        table = table * (source.T @ share)
        total = table.sum(1, keepdims=True)
        table = np.divide(table, total, out=np.zeros_like(table), where=total > 0)
    return table
