"""Results of a sweep: evaluations of its runs, and statistics of each configuration."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, nan
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arenas import Anchors
from marl.metrics import statistics
from marl.metrics.statistics import Estimate
from marl.rundir.folder import RunDir
from marl.sweep.plan import Sweep, SweepCell
from protocols.draws import key

ALL: Final = "all tasks"


class Reached(NamedTuple):
    """When the evaluations of a run first reached its `stop_at`."""

    updates: float
    episodes: float
    seconds: float


class Finished(NamedTuple):
    """A finished run, with the metric rows that hold an evaluation."""

    seed: int
    evaluations: list[dict[str, Any]]
    futures: float = 0.0
    """Episodes it played for credit alone."""

    @property
    def played(self) -> float:
        """Number of training episodes."""
        return float(self.evaluations[-1]["episodes"]) + self.futures

    @property
    def score(self) -> float:
        """The score of its last evaluation."""
        return float(self.evaluations[-1]["eval/score"])

    def first(self, success: float) -> Reached | None:
        """Return when its evaluations first had this share of successes; None if never."""
        for row in self.evaluations:
            if row.get("eval/success", -1.0) >= success - 1e-9:
                return Reached(row["update"], row["episodes"], row["time/seconds"])
        return None

    def at(self, grid: Sequence[float], name: str) -> list[float]:
        """Return a metric at each count of episodes, from the newest evaluation by then.

        A run that stopped keeps its last one: to leave it out would leave the slow ones to stand for all.
        """
        counts = np.array([row["episodes"] for row in self.evaluations])
        newest = np.searchsorted(counts, grid, "right") - 1
        return [float(self.evaluations[max(place, 0)][name]) for place in newest]


class CellResult(NamedTuple):
    """The finished runs of one configuration on one task, in the order of their seeds."""

    cell: SweepCell
    anchors: Anchors
    runs: list[Finished]
    planned: int

    @property
    def threshold(self) -> float:
        """The share of evaluation episodes that must succeed for a run to count as one that succeeded."""
        stop = self.cell.settings.get("stop_at")
        return 1.0 if stop is None else float(stop)

    @property
    def scores(self) -> list[float]:
        """The score of each run's last evaluation."""
        return [run.score for run in self.runs]

    @property
    def normalised(self) -> list[float] | None:
        """(score - random) / (full - random): 0 is random play, 1 the optimum; None if these are equal or unknown."""
        return normalise(self.scores, self.anchors)

    def grid(self) -> list[float]:
        """Return the episode counts at which runs were evaluated, from the first that all have reached."""
        counts = {row["episodes"] for run in self.runs for row in run.evaluations}
        begin = max((run.evaluations[0]["episodes"] for run in self.runs), default=0)
        return sorted(count for count in counts if count >= begin)

    def curve(self) -> list[tuple[float, Estimate]]:
        """Return (episodes, IQM of the score with its interval)."""
        grid = self.grid()
        values: NDArray[np.float64] = np.array([run.at(grid, "eval/score") for run in self.runs])  # [R, P]
        seed = key(0, "curve", self.cell.task, self.cell.config)
        return list(zip(grid, statistics.iqm_curve([values], seed), strict=True)) if self.runs else []


class ResultRow(NamedTuple):
    """A row of the table: a configuration on one task, or on all tasks with normalised scores."""

    task: str
    config: str
    finished: int
    planned: int
    score: Estimate | None
    gap: Estimate | None
    """Optimality gap of the normalised scores."""
    succeeded: int | None
    """How many runs end above the threshold; None where the arena knows no success."""
    threshold: Reached | None
    """Median over all runs of when `stop_at` was reached; infinite if half of them never did, None without one."""
    better: Estimate | None
    """Probability of improvement over the first configuration; None for itself."""
    sooner: Estimate | None
    """The same of when `stop_at` was reached."""
    played: float | None
    """Mean over runs of all episodes played."""


def normalise(scores: Sequence[float], anchors: Anchors) -> list[float] | None:
    """Scale scores to 0 for random play and 1 for the optimum; None if these are equal or unknown."""
    if anchors.full is None or anchors.random is None:
        return None
    low, span = anchors.random, anchors.full - anchors.random
    return None if abs(span) < 1e-12 else [(score - low) / span for score in scores]


def gather(sweep: Sweep, folder: Path) -> list[CellResult]:
    """Read the finished runs, in the order of the sweep's configurations."""
    members = sweep.members(folder)
    return [
        CellResult(
            cell,
            cell.world().anchors,
            [run for member in members if member.cell is cell and (run := read(member.dir, member.seed))],
            len(sweep.seeds),
        )
        for cell in sweep.configs
    ]


def read(folder: RunDir, seed: int) -> Finished | None:
    """Read a run; None if it is unfinished or has no score."""
    if not folder.finished:
        return None
    every = [{name: v for name, v in row.items() if v is not None} for row in folder.read_metrics()]  # null: not finite
    rows = [row for row in every if isfinite(row.get("eval/score", nan))]
    return Finished(seed, rows, sum(row.get("credit/futures", 0.0) for row in every)) if rows else None


def tasks(results: Sequence[CellResult]) -> dict[str, list[CellResult]]:
    """Group results by task."""
    by: dict[str, list[CellResult]] = {}
    for result in results:
        by.setdefault(result.cell.task, []).append(result)
    return by


def table(results: Sequence[CellResult]) -> list[ResultRow]:
    """Return the rows, task by task, then over all tasks if there are several on one scale."""
    by = tasks(results)
    rows = [_row(result, cells[0]) for cells in by.values() for result in cells]
    configs: dict[str, list[CellResult]] = {}
    for result in results:
        configs.setdefault(result.cell.config, []).append(result)
    if len(by) > 1:
        first = next(iter(configs.values()))
        rows += [_over_all(own, first) for own in configs.values() if len(own) == len(by)]
    return rows


def _row(result: CellResult, first: CellResult) -> ResultRow:
    seed = key(0, "table", result.cell.task, result.cell.config)
    normalised = result.normalised
    comparable = result is not first and result.runs and first.runs
    return ResultRow(
        result.cell.task,
        result.cell.config,
        len(result.runs),
        result.planned,
        statistics.iqm([result.scores], seed) if result.runs else None,
        statistics.optimality_gap([normalised], seed) if result.runs and normalised is not None else None,
        _succeeded(result),
        _threshold(result),
        statistics.probability_of_improvement([result.scores], [first.scores], seed) if comparable else None,
        _sooner([result], [first], seed) if comparable else None,
        _played([result]),
    )


def _over_all(own: Sequence[CellResult], first: Sequence[CellResult]) -> ResultRow:
    seed = key(0, "table", ALL, own[0].cell.config)
    scores = [result.normalised or [] for result in own]
    whole = all(scores)
    paired = [(a, b) for a, b in zip(own, first, strict=False) if a.cell.task == b.cell.task and a.runs and b.runs]
    comparable = own[0].cell.config != first[0].cell.config and len(paired) == len(own) == len(first)
    return ResultRow(
        ALL,
        own[0].cell.config,
        sum(len(result.runs) for result in own),
        sum(result.planned for result in own),
        statistics.iqm(scores, seed) if whole else None,
        statistics.optimality_gap(scores, seed) if whole else None,
        None if any(_succeeded(result) is None for result in own) else sum(_succeeded(result) or 0 for result in own),
        None,
        statistics.probability_of_improvement([a.scores for a, _ in paired], [b.scores for _, b in paired], seed)
        if comparable
        else None,
        _sooner([a for a, _ in paired], [b for _, b in paired], seed) if comparable else None,
        _played(own),
    )


def _played(own: Sequence[CellResult]) -> float | None:
    runs = [run for result in own for run in result.runs]
    return sum(run.played for run in runs) / len(runs) if runs else None


def _sooner(own: Sequence[CellResult], first: Sequence[CellResult], seed: int) -> Estimate | None:
    """Return the probability of reaching `stop_at` before a run of the baseline; None without `stop_at`."""
    if any(result.cell.settings.get("stop_at") is None for result in own):
        return None
    ours, theirs = ([[-reached.updates for reached in _reached(result)] for result in side] for side in (own, first))
    return statistics.probability_of_improvement(ours, theirs, key(seed, "sooner"))


def _succeeded(result: CellResult) -> int | None:
    """Return how many runs end above the threshold; None if the arena defines no success."""
    last = [run.evaluations[-1].get("eval/success") for run in result.runs]
    measured = [float(success) for success in last if success is not None]
    return sum(success >= result.threshold - 1e-9 for success in measured) if measured or not last else None


def _threshold(result: CellResult) -> Reached | None:
    """Return the median time at which runs reached `stop_at`, infinite for those that never did."""
    if result.cell.settings.get("stop_at") is None or not result.runs:
        return None
    reached = _reached(result)
    return Reached(*(float(median(one[place] for one in reached)) for place in range(3)))


def _reached(result: CellResult) -> list[Reached]:
    """Return when each run reached the threshold, infinite if never."""
    never = Reached(*[float("inf")] * 3)
    return [run.first(result.threshold) or never for run in result.runs]
