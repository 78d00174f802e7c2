"""The table of `marl arenas --measure`: known scores beside measured ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from marl.cli.console import ERR, OUT, answer

if TYPE_CHECKING:
    from arenas import Arena
    from arenas.solvers.measure import Measured


def write(arenas: Mapping[str, Arena], episodes: int, seed: int, *, as_json: bool) -> None:
    """Play every arena and print the table, in Markdown or as JSON."""
    from rich.progress import track

    from arenas import names
    from arenas.solvers.measure import measure

    measurements = {
        name: measure(arena, episodes, seed)
        for name, arena in track(list(arenas.items()), "playing", console=ERR, transient=True)
    }
    if as_json:
        rows = {name: row(arenas[name], measured) for name, measured in measurements.items()}
        OUT.print_json(json.dumps({"episodes": episodes, "seed": seed, "arenas": rows}))
        return
    which = "" if sorted(arenas) == names() else f"{' '.join(arenas)} "
    answer(f"# Anchors\n\nMade by `marl arenas {which}--measure --episodes {episodes} --seed {seed}`.\n")
    for line in (*_PREFACE, "", *table(arenas, measurements)):
        answer(line)


_KNOWN = ("arena", "seats", "stages", "random", "played", "silent", "played")
_COLUMNS = (*_KNOWN, "optimum", "equilibrium", "script", "played")
_PREFACE = (
    "The score of an episode is its return: what it pays a seat, summed over the episode, averaged over the seats. All",
    "arenas have their default parameters. *Stages* are those of random episodes: an episode ends at its horizon, or",
    "before by its rules. Each known score stands before what was scored in play, the mean with a 95 % confidence",
    "interval; about one interval in twenty misses the true mean, and a † marks those that miss the known score.",
    "*Random* is uniformly random legal replies, *silent* the script that uses no message, *script* the one that",
    "comes nearest to the optimum. A dash stands where there is none. [Anchors](arenas.md#anchors) says what is exact,",
    "and what is estimated. Where all episodes score the same, the interval is ± 0, and does not see what is rarer.",
)


def row(arena: Arena, measured: Mapping[str, Measured]) -> dict[str, Any]:
    """Return one arena's known scores and measured ones as JSON values."""
    from arenas.solvers.measure import best, stages

    anchors = arena.anchors()
    return {
        "seats": len(arena.possible_agents),
        "stages": list(stages(arena)),
        "anchors": {name: getattr(anchors, name) for name in ("random", "silent", "full", "equilibrium")},
        "values": anchors.values,
        "measured": {name: {"mean": result.mean, "half_width_95": result.half} for name, result in measured.items()},
        "best_script": best(arena.scripts()) if arena.scripts() else None,
    }


def table(arenas: Mapping[str, Arena], measurements: Mapping[str, Mapping[str, Measured]]) -> Iterator[str]:
    """Yield the lines of the table in Markdown."""
    from arenas.solvers.measure import best, stages

    yield f"| {' | '.join(_COLUMNS)} |"
    yield "|---" * len(_COLUMNS) + "|"
    for name, arena in arenas.items():
        anchors, measured = arena.anchors(), measurements[name]
        fewest, most = stages(arena)
        script = best(arena.scripts()) if arena.scripts() else ""
        scores_by_script = {"full": anchors.full, "equilibrium": anchors.equilibrium, "silent": anchors.silent}
        cells = [
            f"`{name}`",
            str(len(arena.possible_agents)),
            str(fewest) if fewest == most else f"{fewest}–{most}",
            _figure(anchors.random),
            _played(measured.get("random"), anchors.random),
            _figure(anchors.silent),
            _played(measured.get("silent"), anchors.silent),
            _figure(anchors.full),
            _figure(anchors.equilibrium),
            script or "–",
            _played(measured.get(script), scores_by_script.get(script)),
        ]
        yield f"| {' | '.join(cells)} |"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _played(measured: Measured | None, exact: float | None) -> str:
    if measured is None:
        return "–"
    mark = "" if exact is None or measured.agrees(exact) else " †"
    return f"{measured.mean:.4g} ± {round(measured.half, 9):.2g}{mark}"
