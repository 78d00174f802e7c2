"""Bridges: games of other libraries as arenas, by name: `LIBRARY:GAME`, such as `openspiel:kuhn_poker`.

A library is imported when one of its games is named. Names may come from configurations of strangers: only modules of
packages that a bridge lists, and what you registered with it yourself, are imported.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from arenas.errors import ArenaError

if TYPE_CHECKING:
    from arenas.core import Arena

LIBRARIES: Final = ("openspiel", "pettingzoo", "textarena")
"""Each is a module of this package, with `find(game)` and `games()`."""


def find(library: str, game: str) -> Callable[..., Arena]:
    """Return the factory of a game's arena; raises ArenaError, also if the library is not installed."""
    maker: Callable[..., Arena] = _bridge(library).find(game)
    return maker


def games(library: str) -> dict[str, str]:
    """Return the games of a library: name -> "", or the reason it cannot be played here."""
    problems: dict[str, str] = _bridge(library).games()
    return problems


def _bridge(library: str) -> Any:
    if library not in LIBRARIES:
        raise ArenaError(f"no library {library!r} of games: there are {', '.join(LIBRARIES)}")
    return import_module(f"arenas.bridges.{library}")


def install(package: str, source: str) -> Any:
    """Import a package; raises ArenaError with the `source` to pip install if it is missing."""
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        raise ArenaError(f"this game needs the package {error.name}: pip install '{source}'") from None
