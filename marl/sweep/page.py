"""The page of a sweep: table, learning curves and intervals in one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from arenas import Anchors
from marl.charts import html
from marl.charts.svg import LINES, Chart, curves, intervals
from marl.sweep.results import ALL, CellResult, ResultRow, table, tasks
from marl.sweep.table import LEFT, cells, note


def write(results: Sequence[CellResult], folder: Path) -> Path:
    """Write `sweep.html`."""
    path = folder / "sweep.html"
    path.write_text(html.render("sweep/page.html.jinja", _gather(results, folder)), encoding="utf-8")
    return path


def _gather(results: Sequence[CellResult], folder: Path) -> dict[str, Any]:
    heads, lines = cells(results)
    return {
        "name": folder.resolve().name,
        "finished": sum(len(result.runs) for result in results),
        "planned": sum(result.planned for result in results),
        "heads": heads,
        "left": sum(head in LEFT for head in heads),
        "lines": lines,
        "note": note(results),
        "sections": _sections(results),
        "config": (folder / "sweep.toml").read_text(encoding="utf-8"),
    }


def _sections(results: Sequence[CellResult]) -> dict[str, list[Chart]]:
    """Return the charts of each task, and of all."""
    rows: dict[str, list[ResultRow]] = {}
    for row in table(results):
        rows.setdefault(row.task, []).append(row)
    sections: dict[str, list[Chart]] = {}
    for task, members in tasks(results).items():
        done = [result for result in members if result.runs]
        levels = _levels(done[0].anchors) if done else {}
        sections[task] = [_learning(done, levels)] if done else []
        sections[task] += _compared(rows[task], "score", levels)
    if ALL in rows:
        sections[ALL] = _compared(rows[ALL], "normalised score", {"random": 0.0, "optimum": 1.0})
    return {task: charts for task, charts in sections.items() if charts}


def _levels(anchors: Anchors) -> dict[str, float]:
    """Return the anchors by name; anchors of equal value share an entry."""
    named = {"random": anchors.random, "without talk": anchors.silent, "optimum": anchors.full}
    heights: dict[float, list[str]] = {}
    for name, value in ((name, value) for name, value in named.items() if value is not None):
        heights.setdefault(round(value, 9), []).append(name)
    return {" = ".join(names): height for height, names in heights.items()}


def _learning(done: Sequence[CellResult], levels: dict[str, float]) -> Chart:
    shown = done[: len(LINES)]
    lines = {result.cell.config: result.curve() for result in shown}
    more = f" Shown are the first {len(shown)} of {len(done)} configurations." if len(done) > len(shown) else ""
    return curves(
        "Learning curves: interquartile mean over runs of the evaluation's score, with its 95 % interval at each "
        f"point. A run that stopped early keeps its last score.{more}",
        {name: [(x, e.value) for x, e in curve] for name, curve in lines.items()},
        label="score",
        levels=levels,
        bands={name: [(e.low, e.high) for _, e in curve] for name, curve in lines.items()},
        over="episodes of training",
    )


def _compared(rows: Sequence[ResultRow], what: str, levels: dict[str, float]) -> list[Chart]:
    scores = {row.config: row.score for row in rows if row.score}
    better = {row.config: row.better for row in rows if row.better}
    colors = {row.config: LINES[place % len(LINES)] for place, row in enumerate(rows)}
    charts = []
    if scores:
        text = f"Interquartile mean of the last {what}, with its 95 % interval."
        charts.append(intervals(text, scores, label=what, levels=levels, colors=colors))
    if better:
        text = (
            f"How likely a run scores more than one of {rows[0].config}, a tie counting half, with its 95 % interval."
        )
        levels = {"as good": 0.5}
        charts.append(intervals(text, better, label="probability of improvement", levels=levels, colors=colors))
    return charts
