"""Scores by split of the deals, communication gain, and generalisation to held-out deals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import isfinite, nan

import numpy as np

from arenas import Anchors
from marl.evaluation import log_lines
from marl.metrics.measure import Measure, measured, undefined
from marl.metrics.statistics import mean_interval
from marl.study.data.corpus import MessageSample
from protocols.log import Log

SplitScores = dict[str, list[float]]
"""Split of the deals -> the score of each episode; nan where it is none."""


def of_logs(logs: Iterable[Log]) -> SplitScores:
    """Return the scores of logs by split."""
    scores: SplitScores = {}
    for log in logs:
        scores.setdefault(log.deal.get("split", "train"), []).append(log_lines.score(log))
    return scores


def of_samples(samples: Iterable[MessageSample]) -> SplitScores:
    """Return the scores of samples by split, one per episode; empty if none has a score."""
    episodes = {sample.episode: sample for sample in samples}
    scores: SplitScores = {}
    for sample in episodes.values() if any(sample.score is not None for sample in episodes.values()) else ():
        split = "held out" if sample.held_out else "train"
        scores.setdefault(split, []).append(nan if sample.score is None else sample.score)
    return scores


def measures(scores: SplitScores, anchors: Anchors | None = None, seed: int = 0) -> Iterator[Measure]:
    """Yield the score of each split, the communication gain, and the gap to held-out deals."""
    means: dict[str, float] = {}
    for split, values in sorted(scores.items(), key=lambda item: (item[0] != "train", item[0])):
        name = "score" if split == "train" else f"score {split}"
        finite = [score for score in values if isfinite(score)]
        if not finite:
            yield undefined(name, "no episode has a reward that is a number", unit="score", n=len(values))
            continue
        means[split] = float(np.mean(finite))
        interval = mean_interval(finite, seed, of=f"bootstrap over {len(finite)} episodes")
        note = f"{len(values) - len(finite)} episodes left out" if len(finite) < len(values) else ""
        yield measured(name, means[split], unit="score", n=len(finite), interval=interval, note=note)
    yield _gain(means.get("train"), anchors, len(scores.get("train", ())))
    yield _generalisation(means, {split: len(values) for split, values in scores.items()})


def _gain(score: float | None, anchors: Anchors | None, n: int) -> Measure:
    """(R - R_silent) / (R_full - R_silent)."""
    gain = None if anchors is None or score is None else anchors.communication_gain(score)
    if gain is None:
        return undefined("communication_gain", "the score without talk, or the best one, is not known", unit="share")
    return measured("communication_gain", gain, unit="share", n=n)


def _generalisation(means: dict[str, float], counts: dict[str, int]) -> Measure:
    """Score on training deals minus that on held-out deals."""
    name, other = "generalisation_gap", [split for split in means if split != "train"]
    if "train" not in means or not other:
        return undefined(name, "no deals are held out of training", unit="score")
    parts = {split: means["train"] - means[split] for split in other}
    held = sum(means[split] * counts[split] for split in other) / sum(counts[split] for split in other)
    return measured(name, means["train"] - held, unit="score", n=sum(counts[s] for s in other), parts=parts)
