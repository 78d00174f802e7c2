"""`marl new arena NAME`: write the skeleton of an arena and its test."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final

import typer

from marl.cli.console import answer
from marl.errors import UserError

TEST: Final = """from {name} import {title}

from arenas.testing import check_arena


def test_{name}_is_sound() -> None:
    check_arena({title})
"""


def new(
    what: Annotated[str, typer.Argument(metavar="arena", help="What to create: arena.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name in small letters, such as my_arena.")],
) -> None:
    """Write NAME.py, a working arena of under 30 lines to adapt, and test_NAME.py, which checks it.

    Both work as they are: try `marl check NAME.py`, `marl play NAME.py`, `marl train NAME.py` and `pytest`. Existing
    files are never overwritten.
    """
    if what != "arena":
        raise UserError(f"marl new creates arenas, not {what!r}: marl new arena NAME")
    _check_name(name)
    title = "".join(part.capitalize() for part in name.split("_"))
    template = files("marl.cli.commands.arena").joinpath("new_arena.txt").read_text(encoding="utf-8")
    wanted = {
        Path(f"{name}.py"): template.replace("NAME", name).replace("TITLE", title),
        Path(f"test_{name}.py"): TEST.format(name=name, title=title),
    }
    for path in wanted:
        if path.exists():
            raise UserError(f"{path} exists already and is not overwritten: choose another name, or move it away")
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")
    answer(f"written: {', '.join(map(str, wanted))}; begin with: marl check {name}.py, marl play {name}.py")


def _check_name(name: str) -> None:
    """Raise UserError unless an arena, its file and its class can be called so."""
    import arenas

    if not re.fullmatch(r"[a-z]+(_?[a-z0-9]+)*", name) or keyword.iskeyword(name):
        likely = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_0123456789")
        likely = likely if likely and not keyword.iskeyword(likely) else f"{likely}_arena".strip("_")
        raise UserError(f"{name!r} is not a valid arena name: use small letters, digits and single _, such as {likely}")
    if name in arenas.ARENAS:
        raise UserError(f"there is an arena {name} already: choose another name, such as my_{name}")
    if not Path(f"{name}.py").exists() and find_spec(name) is not None:
        raise UserError(f"Python has a module {name} already, which {name}.py would hide: choose another name")
