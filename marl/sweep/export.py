"""Results in the JSON of marl-eval (Gorsane et al. 2022), for its plots and tables.

    environment / task / algorithm / run / step_k {step_count, metric: [...]}, and absolute_metrics {metric: [...]}

marl-eval wants lower-case names without commas, as many runs and steps everywhere, and every metric in every step. So
what is exported are the seeds that every configuration has finished, all on one grid of steps, on which a run that
stopped early keeps its last evaluation. A metric is a list of one mean over the evaluation's episodes. `step_count`
counts training episodes. Absolute metrics are those of the last evaluation: a run keeps no best checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from marl.sweep.results import CellResult, Finished, normalise

ENVIRONMENT: Final = "sabir"
MetricLists = dict[str, list[float]]


def marl_eval(results: Sequence[CellResult]) -> dict[str, Any]:
    """Return the results of a sweep as marl-eval reads them; by `return`, `normalised_score`, `success`."""
    done = [result for result in results if result.runs]
    begin = max((result.grid()[0] for result in done), default=0)
    grid = sorted({count for result in done for count in result.grid() if count >= begin})
    whole = all(result.normalised is not None for result in done)
    common = set[int].intersection(*({run.seed for run in result.runs} for result in done)) if done else set()
    tasks: dict[str, Any] = {}
    for result in done:
        runs = tasks.setdefault(_name(result.cell.task), {}).setdefault(_name(result.cell.config), {})
        for run in (run for run in result.runs if run.seed in common):
            steps = [_metrics(run, result, place, grid, whole) for place in range(len(grid))]
            runs[f"seed_{run.seed}"] = {
                **{f"step_{k}": {"step_count": int(grid[k]), **metrics} for k, metrics in enumerate(steps)},
                "absolute_metrics": steps[-1],  # last, where marl-eval looks for them
            }
    return {ENVIRONMENT: tasks}


def _metrics(run: Finished, result: CellResult, place: int, grid: Sequence[float], whole: bool) -> MetricLists:
    """Return the metrics of a run at a place of the grid."""
    here = [grid[place]]
    score = run.at(here, "eval/score")
    scaled = normalise(score, result.anchors) if whole else None
    further = {"normalised_score": scaled, "success": run.at(here, "eval/success")} if scaled is not None else {}
    return {"return": score, **further}


def _name(label: str) -> str:
    return label.lower().replace(",", ";")
