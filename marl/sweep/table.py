"""The table of a sweep, for the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from math import isinf
from typing import Final

from marl.metrics.statistics import Estimate
from marl.sweep.results import CellResult, ResultRow, table

NOTE: Final = (
    "Score: interquartile mean over runs of the last evaluation, with the 95 % interval of a bootstrap that draws runs "
    "within their task (Agarwal et al. 2021); over all tasks, of normalised scores (0: random play, 1: the optimum). "
    "Succeeded: runs whose last evaluation has {what}. {median}"
    "P(better): how likely a run scores more than one of {first}, a tie counting half{sooner}.{episodes}"
)
SOONER: Final = "; P(sooner): how likely it comes there first, two that never do a tie"
EPISODES: Final = " Episodes: mean over runs of all that were played, those of credit by futures among them."
LEFT: Final = ("task", "configuration")
UNITS: Final = ((0, "updates"), (2, "seconds"))
MEDIAN: Final = (
    "Updates, seconds: median over all runs of when that was first so, never if not in half of them; seconds depend on "
    "what else ran. "
)


def cells(results: Sequence[CellResult]) -> tuple[list[str], list[list[str]]]:
    """Return column heads and rows as text; empty columns are left out."""
    rows = table(results)
    columns: dict[str, list[str]] = {
        "task": [row.task for row in rows],
        "configuration": [row.config for row in rows],
        "runs": [f"{row.finished}/{row.planned}" for row in rows],
        "score": [_interval(row.score, 3) for row in rows],
        "succeeded": ["–" if row.succeeded is None else f"{row.succeeded}/{row.finished}" for row in rows],
    }
    if any(row.threshold for row in rows):
        columns |= {unit: [_reached(row, place) for row in rows] for place, unit in UNITS}
    if any(row.better for row in rows):
        columns["P(better)"] = [_interval(row.better, 2) for row in rows]
    if any(row.sooner for row in rows):
        columns["P(sooner)"] = [_interval(row.sooner, 2) for row in rows]
    if any(run.futures for result in results for run in result.runs):
        columns["episodes"] = ["–" if row.played is None else f"{row.played:,.0f}" for row in rows]
    if len({row.task for row in rows}) == 1:
        del columns["task"]
    else:
        columns["optimality gap"] = [_interval(row.gap, 3) for row in rows]
    return list(columns), [list(line) for line in zip(*columns.values(), strict=True)]


def note(results: Sequence[CellResult]) -> str:
    """Return the note that explains the columns."""
    shares = sorted({result.threshold for result in results})
    what = " or ".join(
        "every episode at the optimum" if s == 1 else f"{s:.0%} of episodes at the optimum" for s in shares
    )
    stops = any(result.cell.settings.get("stop_at") is not None for result in results)
    futures = any(run.futures for result in results for run in result.runs)
    return NOTE.format(
        what=what,
        median=MEDIAN if stops else "",
        first=results[0].cell.config,
        sooner=SOONER if stops else "",
        episodes=EPISODES if futures else "",
    )


def text(results: Sequence[CellResult]) -> list[str]:
    """Return the table in lines for the terminal."""
    heads, lines = cells(results)
    widths = [max(map(len, column)) for column in zip(heads, *lines, strict=True)]
    return [
        "   ".join(
            f"{cell:<{width}}" if head in LEFT else f"{cell:>{width}}"
            for head, cell, width in zip(heads, line, widths, strict=True)
        ).rstrip()
        for line in [heads, *lines]
    ]


def markdown(results: Sequence[CellResult]) -> str:
    """Return the table and its note in Markdown."""
    heads, lines = cells(results)
    ruler = ["---" if head in LEFT else "---:" for head in heads]
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in [heads, ruler, *escaped]) + f"\n\n{note(results)}\n"


def _interval(estimate: Estimate | None, digits: int) -> str:
    if estimate is None:
        return "–"
    value, low, high = (f"{x:.{digits}f}" for x in estimate)
    return f"{value} [{low}, {high}]"


def _reached(row: ResultRow, place: int) -> str:
    if row.threshold is None:
        return "–"
    value = row.threshold[place]
    return "never" if isinf(value) else f"{value:,.0f}"
