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

from marl.sweep.results import Finished, Found, normalise

ENVIRONMENT: Final = "sabir"
Metrics = dict[str, list[float]]


def marl_eval(found: Sequence[Found]) -> dict[str, Any]:
    """Return the results of a sweep as marl-eval reads them; by `return`, `normalised_score`, `success`."""
    done = [each for each in found if each.runs]
    begin = max((each.grid()[0] for each in done), default=0)
    grid = sorted({count for each in done for count in each.grid() if count >= begin})
    whole = all(each.normalised is not None for each in done)
    common = set[int].intersection(*({run.seed for run in each.runs} for each in done)) if done else set()
    tasks: dict[str, Any] = {}
    for each in done:
        runs = tasks.setdefault(_name(each.cell.task), {}).setdefault(_name(each.cell.config), {})
        for run in (run for run in each.runs if run.seed in common):
            steps = [_metrics(run, each, place, grid, whole) for place in range(len(grid))]
            runs[f"seed_{run.seed}"] = {
                **{f"step_{k}": {"step_count": int(grid[k]), **metrics} for k, metrics in enumerate(steps)},
                "absolute_metrics": steps[-1],  # last, where marl-eval looks for them
            }
    return {ENVIRONMENT: tasks}


def _metrics(run: Finished, each: Found, place: int, grid: Sequence[float], whole: bool) -> Metrics:
    """Return the metrics of a run at a place of the grid."""
    here = [grid[place]]
    score = run.at(here, "eval/score")
    scaled = normalise(score, each.anchors) if whole else None
    known = {"normalised_score": scaled, "success": run.at(here, "eval/success")} if scaled is not None else {}
    return {"return": score, **known}


def _name(label: str) -> str:
    return label.lower().replace(",", ";")
