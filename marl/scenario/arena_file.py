"""Arenas in files that the user named: on the command line, in a configuration, or by the folder of a run.

Building an arena from a file runs the file. So nothing else does: a log, or a message from elsewhere, may name a file,
and `arenas.make` then says that it has to be named here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import arenas
from arenas.files import SUFFIX
from arenas.testing.suite import check_arena


def is_file(name: object) -> bool:
    """Whether this stands for an arena in a file."""
    return isinstance(name, str) and name.endswith(SUFFIX)


def anchored(scenario: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Return a scenario in which the path of an arena's file is absolute; a relative one begins at `base`."""
    arena = scenario.get("arena")
    if not isinstance(arena, Mapping) or not is_file(arena.get("name")):
        return dict(scenario)
    return {**scenario, "arena": {**arena, "name": str((base / arena["name"]).absolute())}}


def admit(scenario: Mapping[str, Any], base: Path | None = None) -> dict[str, Any]:
    """Run and check the file of a scenario's arena, if it is in one, so that the arena can be made by its name.

    Raises ArenaError, in one sentence, for a file or an arena that is broken. Only for scenarios that the user named.
    """
    wanted = anchored(scenario, base or Path.cwd())
    arena = wanted.get("arena")
    if isinstance(arena, dict) and is_file(arena.get("name")):
        name, options = arena["name"], {key: value for key, value in arena.items() if key != "name"}
        arenas.load(name)
        check_arena(lambda: arenas.make(name, **options))
    return wanted


def stand_in(name: str, path: Path) -> None:
    """Let a file that the user named be the arena that a log calls by the path of a file."""
    if name not in arenas.ARENAS:
        arenas.ARENAS[name] = arenas.ARENAS[arenas.load(path)]
