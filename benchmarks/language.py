"""Effects of channel noise, symbol price and population on a language: `make finding`.

Reads the runs of `marl sweep benchmarks/language.toml`, finished or not, measures the language of each last evaluation,
and writes a table of every seed into docs/findings.md and its figure, docs/findings.svg.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import PermutationMethod, mannwhitneyu

from marl.charts.svg import FAINT, LINES, STYLE
from marl.errors import UserError
from marl.metrics.statistics import Estimate, holm, iqm
from marl.study.data import corpus
from marl.study.history import similarity, synchronisation, usual
from marl.sweep import plan
from protocols.log import load

PLAIN = "plain"
MEASURES = ("success", "length", "topographic similarity", "synchronisation")
EVERY = PermutationMethod(n_resamples=200_000)
"""All ways to share out the runs of two conditions, up to ten seeds each: exact, with ties too."""
BEGIN, END = "<!-- written by benchmarks/language.py -->", "<!-- end of what benchmarks/language.py writes -->"


class RunMeasures(NamedTuple):
    """The language of one run."""

    seed: int
    seconds: float
    values: dict[str, float | None]


def condition(settings: dict[str, Any]) -> str:
    """Return what is different about a configuration."""
    effects = settings["scenario"].get("channel") or []
    graph = settings["scenario"]["arena"]["graph"]
    changes = [f"{e['type']} {e.get('p', e.get('per_symbol'))}" for e in effects] + [graph] * (graph != "complete")
    return ", ".join(changes) or PLAIN


def measure(path: Path, seed: int, seconds: float) -> RunMeasures:
    """Measure a run's last evaluation: greedy, every deal for every pair."""
    samples = corpus.from_logs(load(path))
    languages = usual(samples)
    right = [answer == s.meaning.removeprefix("object ") for s in samples for answer in s.answers.values()]
    values = {
        "success": float(np.mean(right)) if right else None,
        "length": float(np.mean([len(sample.message) for sample in samples])),
        "topographic similarity": similarity(languages).value,
        "synchronisation": synchronisation(languages, permutations=1).value,
    }
    return RunMeasures(seed, seconds, values)


def collect(folder: Path) -> dict[str, list[RunMeasures]]:
    """Measure all runs of a sweep that came to their end, by condition."""
    conditions: dict[str, list[RunMeasures]] = {}
    for member in plan.load(folder).members(folder):
        runs = conditions.setdefault(condition(member.cell.settings), [])
        if member.dir.finished:
            seconds = float(member.dir.read_metrics()[-1]["time/seconds"])
            runs.append(measure(member.dir.eval_log, member.seed, seconds))
    return conditions


def values(runs: list[RunMeasures], name: str) -> list[float]:
    """Return a measure's values where it is defined."""
    return [value for run in runs if (value := run.values[name]) is not None]


def compared(conditions: dict[str, list[RunMeasures]], name: str) -> dict[str, float]:
    """Return p of each condition against the plain one: exact Mann-Whitney, corrected over the conditions."""
    plain = values(conditions[PLAIN], name)
    others = {condition: values(runs, name) for condition, runs in conditions.items() if condition != PLAIN}
    tested = {condition: own for condition, own in others.items() if len(own) > 1 and len(plain) > 1}
    chances = [mannwhitneyu(own, plain, method=EVERY).pvalue for own in tested.values()]
    return dict(zip(tested, holm(chances).tolist(), strict=True))


def summary(conditions: dict[str, list[RunMeasures]], name: str) -> dict[str, Estimate]:
    """Return the interquartile mean of each condition with its bootstrap interval."""
    return {condition: iqm([own]) for condition, runs in conditions.items() if (own := values(runs, name))}


def table(conditions: dict[str, list[RunMeasures]]) -> str:
    """Return the tables in Markdown: what the conditions come to, and every seed."""
    lines = [f"| | {' | '.join(MEASURES)} | runs |", "|---" * (len(MEASURES) + 2) + "|"]
    whole = {name: summary(conditions, name) for name in MEASURES}
    p = {name: compared(conditions, name) for name in MEASURES}
    for condition, runs in conditions.items():
        cells = []
        for name in MEASURES:
            it, chance = whole[name].get(condition), p[name].get(condition)
            few = len(values(runs, name)) < 2  # one run has no interval
            text = "–" if it is None else f"{it.value:.2f}" + ("" if few else f" [{it.low:.2f}, {it.high:.2f}]")
            cells.append(text + ("" if chance is None else f" p = {chance:.2g}"))
        lines.append(f"| {condition} | {' | '.join(cells)} | {len(runs)} |")
    lines += ["", f"| run | {' | '.join(MEASURES)} |", "|---" * (len(MEASURES) + 1) + "|"]
    for condition, runs in conditions.items():
        for run in runs:
            cells = ["undefined" if run.values[name] is None else f"{run.values[name]:.3f}" for name in MEASURES]
            lines.append(f"| {condition}, seed {run.seed} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(conditions: dict[str, list[RunMeasures]], path: Path) -> None:
    """Draw each measure: a dot for every run, the interquartile mean and its interval for every condition."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(9.4, 3.4), layout="constrained")
        FigureCanvasSVG(figure)
        for axes, name in zip(np.atleast_1d(figure.subplots(1, len(MEASURES), sharey=True)), MEASURES, strict=True):
            whole = summary(conditions, name)
            for row, (condition, runs) in enumerate(conditions.items()):
                own = values(runs, name)
                axes.plot(own, [row + 0.22] * len(own), "o", color=FAINT, markersize=4, alpha=0.7)
                if condition in whole:
                    value, low, high = whole[condition]
                    axes.plot((low, high), (row, row), color=LINES[0], linewidth=5, alpha=0.3, solid_capstyle="butt")
                    axes.plot(value, row, "o", color=LINES[0], markersize=6)
            axes.set_yticks(range(len(conditions)), list(conditions))
            axes.set_ylim(len(conditions) - 0.4, -0.6)
            axes.set_xlabel(name)
            axes.grid(axis="x", color="#e4e7eb", linewidth=0.8)
            axes.tick_params(length=0)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None}, facecolor="white")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the sweep, such as runs/language")
    parser.add_argument("--docs", type=Path, default=Path(__file__).parents[1] / "docs", help="where findings.md is")
    options = parser.parse_args()
    try:
        conditions = collect(options.folder)
    except UserError as error:
        sys.exit(f"error: {error}")
    if not conditions.get(PLAIN):
        sys.exit(f"error: no plain run of {options.folder} has come to its end yet: let `marl sweep` go on")
    page = options.docs / "findings.md"
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"error: {page} lacks the lines {BEGIN} and {END}, between which the table goes")
    done = [run.seconds for runs in conditions.values() for run in runs]
    wanted = len(plan.load(options.folder).members(options.folder))
    said = f"{len(done)} of {wanted} runs, {sum(done) / 60:.0f} minutes of training in all."
    if len(done) < wanted:
        said += " **The sweep has not come to its end: nothing is concluded from this yet.**"
    page.write_text(f"{before}{BEGIN}\n\n{said}\n\n{table(conditions)}\n\n{END}{after}", encoding="utf-8")
    draw(conditions, options.docs / "findings.svg")
    print(table(conditions))


if __name__ == "__main__":
    main()
