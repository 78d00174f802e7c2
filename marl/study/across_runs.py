"""What runs have in common, and in what two groups of them differ: the seeds are the samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from marl.metrics import statistics
from marl.metrics.measure import Frozen, Measure, measured
from marl.study.data.result import Measures, RunStudy


class Difference(Frozen):
    """In what two groups of runs differ: ours less theirs."""

    name: str
    ours: int
    theirs: int
    """How many runs have the measure."""
    difference: float
    """Of the means."""
    hedges_g: float | None
    """The difference over the pooled standard deviation; None where that is 0, or a group has one run."""
    cliffs_delta: float
    """P(ours > theirs) - P(ours < theirs)."""
    p: float
    """Of a difference of means as large or larger, either way, when runs change groups at random."""
    q: float
    """p adjusted for all measures that were compared (Benjamini-Hochberg)."""


def named(run: RunStudy) -> Iterator[tuple[str, Measure]]:
    """Yield every measure of a run under a name that tells whose it is."""
    yield from run.scores.items()
    for each in run.languages:
        who = each.speaker + (f" {each.place + 1}" if each.place else "")
        yield from ((f"{who}: {name}", measure) for name, measure in each.measures.items())
    for effect in run.effects:
        who = f"{effect.speaker} -> {effect.listener}"
        yield from ((f"{who}: {name}", measure) for name, measure in effect.measures.items())
    yield from run.causes.items()


def _values(runs: Sequence[RunStudy]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for run in runs:
        for name, measure in named(run):
            if measure.value is not None:
                found.setdefault(name, []).append(measure.value)
    return found


def pooled(runs: Sequence[RunStudy], seed: int = 0) -> Measures:
    """Return the interquartile mean over runs of every measure that at least two of them have."""
    units = {name: measure.unit for run in runs for name, measure in named(run)}
    result: Measures = {}
    for name, values in _values(runs).items():
        if len(values) > 1:
            found = statistics.iqm([values], seed, replications=statistics.CURVE_REPLICATIONS)
            interval = {"low": found.low, "high": found.high, "of": f"bootstrap over {len(values)} runs"}
            few = f"; the other {len(runs) - len(values)} have none" if len(values) < len(runs) else ""
            note = f"interquartile mean of {len(values)} runs{few}"
            result[name] = measured(name, found.value, unit=units[name], n=len(values), interval=interval, note=note)
    return result


def compare(
    ours: Sequence[RunStudy], theirs: Sequence[RunStudy], *, permutations: int = 2000, seed: int = 0
) -> list[Difference]:
    """Compare two groups of runs in every measure that at least two runs of each have, the surest difference first."""
    x, y = _values(ours), _values(theirs)
    names = [name for name in x if len(x[name]) > 1 and len(y.get(name, ())) > 1]
    chances = [_chance(x[name], y[name], permutations, seed) for name in names]
    adjusted = statistics.benjamini_hochberg(chances).tolist()
    found = [
        Difference(
            name=name,
            ours=len(x[name]),
            theirs=len(y[name]),
            difference=float(np.mean(x[name]) - np.mean(y[name])),
            hedges_g=statistics.hedges_g(x[name], y[name]),
            cliffs_delta=statistics.cliffs_delta(x[name], y[name]),
            p=p,
            q=q,
        )
        for name, p, q in zip(names, chances, adjusted, strict=True)
    ]
    return sorted(found, key=lambda each: (each.p, -abs(each.cliffs_delta), each.name))


def _chance(x: Sequence[float], y: Sequence[float], permutations: int, seed: int) -> float:
    """Return the p-value of a permutation test on the difference of means, never 0."""
    both, rng = np.array([*x, *y]), np.random.default_rng(seed)
    found = abs(np.mean(x) - np.mean(y))
    drawn = rng.permuted(np.tile(both, (permutations, 1)), axis=1)
    shuffled = np.abs(drawn[:, : len(x)].mean(1) - drawn[:, len(x) :].mean(1))
    return float((1 + (shuffled >= found - 1e-12).sum()) / (1 + permutations))


def adjusted(run: RunStudy) -> RunStudy:
    """Return a run in which every null distribution says what its p is worth among all tests that were made of it."""
    nulls = [each.null.p for table in _tables(run) for each in table.values() if each.null is not None]
    if not nulls:
        return run
    q = iter(statistics.benjamini_hochberg(nulls).tolist())
    languages = [
        each.model_copy(
            update={"measures": _told(each.measures, q), "positions": [_told(row, q) for row in each.positions]}
        )
        for each in run.languages
    ]
    effects = [each.model_copy(update={"measures": _told(each.measures, q)}) for each in run.effects]
    return run.model_copy(update={"languages": languages, "effects": effects})


def _tables(run: RunStudy) -> Iterator[Measures]:
    """Yield all tables that have tests, in the order in which `adjusted` goes through them."""
    for each in run.languages:
        yield each.measures
        yield from each.positions
    for effect in run.effects:
        yield effect.measures


def _told(table: Measures, q: Iterator[float]) -> Measures:
    return {
        name: each
        if each.null is None
        else each.model_copy(update={"null": each.null.model_copy(update={"q": next(q)})})
        for name, each in table.items()
    }
