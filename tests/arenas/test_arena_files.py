"""An arena from a file: what is run and when, and one sentence for each way in which it can be broken."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

import arenas
from arenas import ArenaError
from arenas.testing.suite import check_arena

TEMPLATE = files("marl.cli.commands.arena").joinpath("new_arena.txt").read_text()
MINE = TEMPLATE.replace("NAME", "mine").replace("TITLE", "Mine")
SECOND = "\n\nclass Other(Mine):\n    pass\n\n\nclass Third(Mine):\n    pass\n"


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arenas, "ARENAS", dict(arenas.ARENAS))


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.py"
    path.write_text(text)
    return path


def test_a_file_gives_an_arena_under_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, MINE)
    monkeypatch.chdir(tmp_path)
    name = arenas.load("mine.py")
    assert name == str(tmp_path / "mine.py")
    assert name in arenas.names()
    check_arena(lambda: arenas.make(name))


def test_the_template_is_short() -> None:
    """Its class and its imports, without comments and empty lines."""
    start = MINE.index("from collections")
    lines = [line for line in MINE[start:].splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(lines) < 30


def test_loading_again_takes_the_file_as_it_is_now(tmp_path: Path) -> None:
    path = write(tmp_path, MINE)
    arenas.load(path)
    write(tmp_path, MINE.replace('"middle"', '"centre"'))
    assert "centre" in arenas.make(arenas.load(path)).vocabulary


def test_a_base_and_a_private_class_do_not_count(tmp_path: Path) -> None:
    text = MINE + "\n\nclass Child(Mine):\n    pass\n\n\nclass _Aside(Child):\n    pass\n"
    assert type(arenas.make(arenas.load(write(tmp_path, text)))).__name__ == "Child"


def test_making_runs_no_file(tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    path = write(tmp_path, f"open({str(trap)!r}, 'w')\n" + MINE)
    with pytest.raises(ArenaError, match=r"a file runs only when you name it yourself: on the command line, or with"):
        arenas.make(str(path))
    assert not trap.exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def broken(:\n", r"mine.py, line 1: invalid syntax"),
        (
            "\nimport nowhere_at_all\n",
            r"mine.py, line 2 raised ModuleNotFoundError\(.*nowhere_at_all.*\); fix it",
        ),
        ("raise SystemExit(3)\n", r"mine.py, line 1 raised SystemExit\(3\)"),
        ("x = 1\n", r"mine.py defines no arena: write a class in it that inherits from arenas.Arena"),
        ("from arenas.games.signalling.lewis import Lewis\n", "defines no arena"),
        (MINE + SECOND, r"defines several arenas \(Other, Third\): keep one, or begin the others' names with _"),
        (
            MINE.replace("def resolve", "def solve"),
            r"mine.py: the arena Mine lacks resolve\(\): write what is",
        ),
    ],
)
def test_a_broken_file_is_one_sentence(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ArenaError, match=says) as caught:
        arenas.load(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_no_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ArenaError, match=r"none.py: there is no such file; `marl new arena NAME` writes one"):
        arenas.load(tmp_path / "none.py")
