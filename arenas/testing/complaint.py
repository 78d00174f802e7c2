"""Errors of the conformance suite: one sentence that names the arena, the problem and the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from arenas.errors import ArenaError

if TYPE_CHECKING:
    from arenas.core import Arena


def lacking(cls: type) -> str:
    """Return the abstract methods that an arena lacks, in words; "" if none."""
    methods = (name for name in dir(cls) if getattr(getattr(cls, name), "__isabstractmethod__", False))
    return ", ".join(f"{name}()" for name in methods)


def require(arena: Arena, holds: bool, message: str) -> None:
    """Raise ArenaError with the arena's name before the message, unless it holds."""
    if not holds:
        raise ArenaError(f"{arena.name}: {message}")


@contextmanager
def blame(arena: Arena, what: str, remedy: str) -> Iterator[None]:
    """Turn any exception into one sentence about the arena."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ArenaError) and str(error).startswith(f"{arena.name}: "):
            raise
        raise ArenaError(f"{arena.name}: {what} raised {error!r}; {remedy}") from error
