"""Load an arena from a Python file.

Loading a file runs its code. Load only files that the user named, never those that a log or a message names.
"""

from __future__ import annotations

import sys
import traceback
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Final

from arenas.core import Arena
from arenas.errors import ArenaError
from arenas.testing.complaint import lacking

SUFFIX: Final = ".py"
"""The suffix that distinguishes a file from an arena's name."""


def load(path: Path | str) -> type[Arena]:
    """Run a Python file and return the arena it defines; raises ArenaError, in one sentence, for whatever is wrong.

    Classes whose names begin with an underscore, that lack methods or that other classes inherit from do not count.
    """
    path = Path(path).absolute()
    if not path.is_file():
        raise ArenaError(f"{path}: there is no such file; `marl new arena NAME` writes one to start from")
    name = f"arena_file:{path}"
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ArenaError(f"{path} is not a Python file: an arena stands in a file whose name ends in {SUFFIX}")
    module = module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module  # dataclasses and help pages look their module up
    try:
        spec.loader.exec_module(module)
        return _only(path, [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == name])
    except BaseException as error:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
        if isinstance(error, ArenaError | KeyboardInterrupt):
            raise
        raise ArenaError(_sentence(path, error)) from error


def _only(path: Path, classes: list[type]) -> type[Arena]:
    """Return the only arena among the classes of a file; raises ArenaError if there is none or several."""
    candidates = [cls for cls in dict.fromkeys(classes) if issubclass(cls, Arena) and not cls.__name__.startswith("_")]
    candidates = [
        cls for cls in candidates if not any(other is not cls and issubclass(other, cls) for other in candidates)
    ]
    whole = [cls for cls in candidates if not lacking(cls)]
    if not candidates:
        raise ArenaError(f"{path} defines no arena: write a class in it that inherits from arenas.Arena")
    if not whole:
        raise ArenaError(
            f"{path}: the arena {candidates[0].__name__} lacks {lacking(candidates[0])}: write what is missing"
        )
    if len(whole) > 1:
        names = ", ".join(cls.__name__ for cls in whole)
        raise ArenaError(f"{path} defines several arenas ({names}): keep one, or begin the others' names with _")
    return whole[0]


def _sentence(path: Path, error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{error.filename or path}, line {error.lineno}: {error.msg}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    where = f", line {lines[-1]}" if lines else ""
    return f"{path}{where} raised {' '.join(repr(error).split())}; fix it there"
