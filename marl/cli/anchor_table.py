"""The table of `marl arenas --measure`: known scores beside what is scored in play."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from marl.cli.console import ERR, OUT, answer

if TYPE_CHECKING:
    from arenas import Arena
    from arenas.solvers.measure import Measured


def write(made: Mapping[str, Arena], episodes: int, seed: int, *, as_json: bool) -> None:
    """Play every arena and print the table, in Markdown or as JSON."""
    from rich.progress import track

    from arenas import names
    from arenas.solvers.measure import measure

    found = {
        name: measure(arena, episodes, seed)
        for name, arena in track(list(made.items()), "playing", console=ERR, transient=True)
    }
    if as_json:
        rows = {name: row(made[name], measured) for name, measured in found.items()}
        OUT.print_json(json.dumps({"episodes": episodes, "seed": seed, "arenas": rows}))
        return
    which = "" if sorted(made) == names() else f"{' '.join(made)} "
    answer(f"# Anchors\n\nMade by `marl arenas {which}--measure --episodes {episodes} --seed {seed}`.\n")
    for line in (*_PREFACE, "", *table(made, found)):
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
        "measured": {name: {"mean": each.mean, "half_width_95": each.half} for name, each in measured.items()},
        "best_script": best(arena.scripts()) if arena.scripts() else None,
    }


def table(made: Mapping[str, Arena], found: Mapping[str, Mapping[str, Measured]]) -> Iterator[str]:
    """Yield the lines of the table in Markdown."""
    from arenas.solvers.measure import best, stages

    yield f"| {' | '.join(_COLUMNS)} |"
    yield "|---" * len(_COLUMNS) + "|"
    for name, arena in made.items():
        anchors, measured = arena.anchors(), found[name]
        fewest, most = stages(arena)
        script = best(arena.scripts()) if arena.scripts() else ""
        known = {"full": anchors.full, "equilibrium": anchors.equilibrium, "silent": anchors.silent}
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
            _played(measured.get(script), known.get(script)),
        ]
        yield f"| {' | '.join(cells)} |"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _played(measured: Measured | None, known: float | None) -> str:
    if measured is None:
        return "–"
    mark = "" if known is None or measured.agrees(known) else " †"
    return f"{measured.mean:.4g} ± {round(measured.half, 9):.2g}{mark}"
