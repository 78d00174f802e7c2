"""Score and language of a generation of iterated learning, also compared with that of its parents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from marl.metrics.measure import Measure, measured, undefined
from marl.study.data import corpus
from marl.study.history import similarity, stability, synchronisation, usual
from protocols.log import Log


def language_measures(logs: Sequence[Log], parents: Sequence[Log]) -> list[Measure]:
    """Measure score, topographic similarity, synchronisation, and stability (does it speak as its parents did)."""
    samples = corpus.from_logs(logs)
    languages, before = usual(samples), usual(corpus.from_logs(parents))
    scores = [sample.score for sample in samples if sample.score is not None]
    measures: list[Measure] = []
    if scores:
        measures.append(measured("score", float(np.mean(scores)), unit="score", n=len(scores)))
    if before and languages:
        same = stability(before, languages)
    else:
        why = "nothing was said" if not languages else "the first generation has no parents"
        same = undefined("stability", why, unit="share")
    return [*measures, similarity(languages), synchronisation(languages), same]
