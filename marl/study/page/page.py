"""The HTML page of a study: one self-contained file with interactive plots."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final

from marl.charts import html
from marl.evaluation import log_lines
from marl.metrics.measure import Measure
from marl.study import across_runs
from marl.study.data.result import Language, MessageCredit, RunStudy, Study
from marl.study.page import plots, scenes
from marl.study.page.plots import Plot
from protocols.log import Log

EPISODES: Final = 6
FEWEST: Final = 3
"""Measures of one unit that make a plot; all stand in the table."""
MOST_CREDITS: Final = 24
MOST_LANGUAGES: Final = 8
"""Languages that are drawn; the measures of all stand in the table."""
SECTIONS: Final[tuple[tuple[tuple[str, ...], str, str, dict[str, Any]], ...]] = (
    (("score",), "score", "Score of the episodes that were logged in training, with its 95 % interval.", {}),
    (
        ("synchronisation", "stability", "topographic similarity"),
        "share, correlation",
        "Synchronisation: do speakers say the same for the same meaning, 1 if so? Stability: do they say the same as "
        "one stretch before? Topographic similarity: do similar meanings have similar messages? Dotted: by chance.",
        {"rangemode": "tozero"},
    ),
    (("entropy", "length"), "bits, symbols", "Entropy and length of a message.", {"rangemode": "tozero"}),
)


def write(path: Path, study: Study, run: RunStudy, logs: Sequence[Log] = ()) -> None:
    """Write the page of one run of a study.

    Args:
        path: where to.
        study: with the other runs, if there are any.
        run: the one that the page is about.
        logs: its evaluation, of which some episodes can be played.
    """
    path.write_text(html.render("study/page/page.html.jinja", gather(study, run, logs)), encoding="utf-8")


def gather(study: Study, run: RunStudy, logs: Sequence[Log] = ()) -> dict[str, Any]:
    """Collect the template data of the page."""
    from plotly.offline import get_plotlyjs

    book = _Book()
    played = _chosen(logs, run.credits)
    worth = {(credit.episode, credit.seq): credit.credit for credit in run.credits}
    episodes = [scenes.episode(log, worth) for log in played]
    values = {
        "run": run,
        "study": study,
        "tables": _tables(run, study.across),
        "training": book.add(*(plots.curves(run.history, *section[:3], **section[3]) for section in SECTIONS)),
        "languages": [
            (_title(language), book.add(plots.table(language), plots.clusters(language)), language)
            for language in run.languages[:MOST_LANGUAGES]
        ],
        "left_out": len(run.languages) - MOST_LANGUAGES,
        "ties": book.add(scenes.influence(run.history)),
        "across": book.add(*_across(study)),
        "cross": book.add(plots.matrices(study.crossplay) if study.crossplay else None),
        "credits": sorted(run.credits, key=lambda credit: -abs(credit.credit))[:MOST_CREDITS],
        "episodes": [(log.episode, log_lines.score(log)) for log in played],
        "play": book.add(episodes[0]) if episodes else [],
    }
    data = {"plots": book.figures, "episodes": [_figure(episode) for episode in episodes]}
    # "<" would let a word of a log end the script element.
    return values | {
        "data": json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        "library": get_plotlyjs(),
    }


class _Book:
    """The plots of a page, by the id of their element."""

    def __init__(self) -> None:
        self.figures: dict[str, Any] = {}
        self._ids = count(1)

    def add(self, *drawings: Plot | None) -> list[tuple[str, Plot]]:
        """Register plots, skipping None, and return them with their ids."""
        named = [(f"plot-{next(self._ids)}", plot) for plot in drawings if plot is not None]
        self.figures |= {name: _figure(plot) for name, plot in named}
        return named


def _figure(plot: Plot) -> dict[str, Any]:
    return {**plot.figure, "layout": {**plot.figure["layout"], "height": plot.pixels}, "caption": plot.caption}


def _title(language: Language) -> str:
    place = f", message {language.place + 1} of an episode" if language.place else ""
    return f"{language.speaker}{place}"


def _tables(run: RunStudy, over_all: Mapping[str, Measure]) -> list[tuple[str, Mapping[str, Measure]]]:
    """Return the tables of measures with their titles."""
    return [
        ("Scores", run.scores),
        *((f"The language of {_title(language)}", language.measures) for language in run.languages),
        ("What the messages and the seats are worth", run.causes),
        *((f"What {effect.speaker} does to {effect.listener}", effect.measures) for effect in run.effects),
        ("Over all runs: interquartile means", over_all),
    ]


def _across(study: Study) -> list[Plot | None]:
    """Return a plot for each unit that several measures over the runs have."""
    by_run = {run.name: dict(across_runs.named(run)) for run in study.runs}
    units = Counter(measure.unit for measure in study.across.values())
    return [plots.spread(by_run, study.across, unit) for unit, often in units.items() if often >= FEWEST]


def _chosen(logs: Sequence[Log], worths: Sequence[MessageCredit]) -> list[Log]:
    """Return a few episodes: those with the highest message credit, then the first, and always the worst."""
    if not logs:
        return []
    best = {credit.episode for credit in sorted(worths, key=lambda credit: -abs(credit.credit))[: EPISODES - 2]}
    worst = min(logs, key=log_lines.score)
    wanted = [log for log in logs if log.episode in best] + list(logs[:EPISODES])
    unique = list({log.episode: log for log in wanted}.values())[:EPISODES]
    return unique if worst in unique else [*unique[: EPISODES - 1], worst]
