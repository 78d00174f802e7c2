"""Load arenas from Python files that the user named.

A file may be named on the command line, in a configuration, or by the folder of a run. Loading it runs its code. So a
file that only a log or a message names is never loaded: `arenas.make` refuses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import arenas
from arenas.files import SUFFIX
from arenas.testing.suite import check_arena
from marl.scenario import paths


def is_file(name: object) -> bool:
    """Return whether an arena's name is the path of a file."""
    return isinstance(name, str) and name.endswith(SUFFIX)


def anchored(scenario: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Return the scenario whose paths, of its arena's file and others, start at `base`."""
    result = paths.anchored(scenario, base)
    arena = scenario.get("arena")
    if isinstance(arena, Mapping) and is_file(arena.get("name")):
        result["arena"] = {**arena, "name": str((base / Path(arena["name"]).expanduser()).absolute())}
    return result


def admit(scenario: Mapping[str, Any], base: Path | None = None) -> dict[str, Any]:
    """Load and check the file of a scenario's arena, if it has one; then `arenas.make` knows the arena.

    Raises ArenaError if the file or the arena is broken. Call it only for scenarios that the user named.
    """
    absolute = anchored(scenario, base or Path.cwd())
    arena = absolute.get("arena")
    if isinstance(arena, dict) and is_file(arena.get("name")):
        name, options = arena["name"], {key: value for key, value in arena.items() if key != "name"}
        arenas.load(name)
        check_arena(lambda: arenas.make(name, **options))
    return absolute


def stand_in(name: str, path: Path) -> None:
    """Register the arena of a file that the user named as `name`, unless that is known: for logs that name it."""
    if name not in arenas.ARENAS:
        arenas.ARENAS[name] = arenas.ARENAS[arenas.load(path)]
