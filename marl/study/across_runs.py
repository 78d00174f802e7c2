"""Statistics across runs: pooled measures and comparisons of two groups; runs are the samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from marl.metrics import statistics
from marl.metrics.measure import Frozen, Measure, measured
from marl.study.data.result import Measures, RunStudy


class Difference(Frozen):
    """Difference between two groups of runs in one measure: ours minus theirs."""

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
    """Yield every measure of a run, named after its speaker and listener."""
    yield from run.scores.items()
    for language in run.languages:
        who = language.speaker + (f" {language.place + 1}" if language.place else "")
        yield from ((f"{who}: {name}", measure) for name, measure in language.measures.items())
    for effect in run.effects:
        who = f"{effect.speaker} -> {effect.listener}"
        yield from ((f"{who}: {name}", measure) for name, measure in effect.measures.items())
    yield from run.causes.items()


def _values(runs: Sequence[RunStudy]) -> dict[str, list[float]]:
    values: dict[str, list[float]] = {}
    for run in runs:
        for name, measure in named(run):
            if measure.value is not None:
                values.setdefault(name, []).append(measure.value)
    return values


def pooled(runs: Sequence[RunStudy], seed: int = 0) -> Measures:
    """Return the interquartile mean over runs of every measure that at least two of them have."""
    units = {name: measure.unit for run in runs for name, measure in named(run)}
    result: Measures = {}
    for name, values in _values(runs).items():
        if len(values) > 1:
            estimate = statistics.iqm([values], seed, replications=statistics.CURVE_REPLICATIONS)
            interval = {"low": estimate.low, "high": estimate.high, "of": f"bootstrap over {len(values)} runs"}
            few = f"; the other {len(runs) - len(values)} have none" if len(values) < len(runs) else ""
            note = f"interquartile mean of {len(values)} runs{few}"
            result[name] = measured(name, estimate.value, unit=units[name], n=len(values), interval=interval, note=note)
    return result


def compare(
    ours: Sequence[RunStudy], theirs: Sequence[RunStudy], *, permutations: int = 2000, seed: int = 0
) -> list[Difference]:
    """Compare two groups of runs in every measure that at least two runs of each have, smallest p first."""
    x, y = _values(ours), _values(theirs)
    names = [name for name in x if len(x[name]) > 1 and len(y.get(name, ())) > 1]
    chances = [_chance(x[name], y[name], permutations, seed) for name in names]
    adjusted = statistics.benjamini_hochberg(chances).tolist()
    differences = [
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
    return sorted(differences, key=lambda difference: (difference.p, -abs(difference.cliffs_delta), difference.name))


def _chance(x: Sequence[float], y: Sequence[float], permutations: int, seed: int) -> float:
    """Return the p-value of a permutation test on the difference of means, never 0."""
    both, rng = np.array([*x, *y]), np.random.default_rng(seed)
    observed = abs(np.mean(x) - np.mean(y))
    drawn = rng.permuted(np.tile(both, (permutations, 1)), axis=1)
    shuffled = np.abs(drawn[:, : len(x)].mean(1) - drawn[:, len(x) :].mean(1))
    return float((1 + (shuffled >= observed - 1e-12).sum()) / (1 + permutations))


def adjusted(run: RunStudy) -> RunStudy:
    """Benjamini-Hochberg correction: set q of every null to p adjusted for all tests of the run; returns a copy."""
    nulls = [measure.null.p for table in _tables(run) for measure in table.values() if measure.null is not None]
    if not nulls:
        return run
    q = iter(statistics.benjamini_hochberg(nulls).tolist())
    languages = [
        language.model_copy(
            update={
                "measures": _with_q(language.measures, q),
                "positions": [_with_q(row, q) for row in language.positions],
            }
        )
        for language in run.languages
    ]
    effects = [effect.model_copy(update={"measures": _with_q(effect.measures, q)}) for effect in run.effects]
    return run.model_copy(update={"languages": languages, "effects": effects})


def _tables(run: RunStudy) -> Iterator[Measures]:
    """Yield all tables with tests, in the order in which `adjusted` fills them."""
    for language in run.languages:
        yield language.measures
        yield from language.positions
    for effect in run.effects:
        yield effect.measures


def _with_q(table: Measures, q: Iterator[float]) -> Measures:
    return {
        name: measure
        if measure.null is None
        else measure.model_copy(update={"null": measure.null.model_copy(update={"q": next(q)})})
        for name, measure in table.items()
    }
