"""How well episodes went, by split of the deals, and what is lost on combinations that training never saw."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import isfinite, nan

import numpy as np

from arenas import Anchors
from marl.evaluation import log_lines as conversation
from marl.metrics.measure import Measure, measured, undefined
from marl.metrics.statistics import mean_interval
from marl.study.data.corpus import Sample
from protocols.log import Log

Scores = dict[str, list[float]]
"""Split of the deals -> the score of each episode; nan where it is none."""


def of_logs(logs: Iterable[Log]) -> Scores:
    """Return the scores of logs by split."""
    scores: Scores = {}
    for log in logs:
        scores.setdefault(log.deal.get("split", "train"), []).append(conversation.score(log))
    return scores


def of_samples(samples: Iterable[Sample]) -> Scores:
    """Return the scores that samples come with, one for each episode; none where none has one."""
    found = {each.episode: each for each in samples}
    scores: Scores = {}
    for each in found.values() if any(each.score is not None for each in found.values()) else ():
        split = "held out" if each.held_out else "train"
        scores.setdefault(split, []).append(nan if each.score is None else each.score)
    return scores


def measures(scores: Scores, anchors: Anchors | None = None, seed: int = 0) -> Iterator[Measure]:
    """Yield the score of each split, the communication gain, and the gap to held-out deals."""
    means: dict[str, float] = {}
    for split, found in sorted(scores.items(), key=lambda item: (item[0] != "train", item[0])):
        name = "score" if split == "train" else f"score {split}"
        known = [score for score in found if isfinite(score)]
        if not known:
            yield undefined(name, "no episode has a reward that is a number", unit="score", n=len(found))
            continue
        means[split] = float(np.mean(known))
        interval = mean_interval(known, seed, of=f"bootstrap over {len(known)} episodes")
        note = f"{len(found) - len(known)} episodes left out" if len(known) < len(found) else ""
        yield measured(name, means[split], unit="score", n=len(known), interval=interval, note=note)
    yield _gain(means.get("train"), anchors, len(scores.get("train", ())))
    yield _generalisation(means, {split: len(found) for split, found in scores.items()})


def _gain(score: float | None, anchors: Anchors | None, n: int) -> Measure:
    """(R - R_silent) / (R_full - R_silent)."""
    gain = None if anchors is None or score is None else anchors.communication_gain(score)
    if gain is None:
        return undefined("communication_gain", "the score without talk, or the best one, is not known", unit="share")
    return measured("communication_gain", gain, unit="share", n=n)


def _generalisation(means: dict[str, float], counts: dict[str, int]) -> Measure:
    """Score on deals seen in training less that on combinations held out of it."""
    name, other = "generalisation_gap", [split for split in means if split != "train"]
    if "train" not in means or not other:
        return undefined(name, "no deals are held out of training", unit="score")
    parts = {split: means["train"] - means[split] for split in other}
    held = sum(means[split] * counts[split] for split in other) / sum(counts[split] for split in other)
    return measured(name, means["train"] - held, unit="score", n=sum(counts[s] for s in other), parts=parts)
