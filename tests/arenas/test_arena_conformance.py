"""Every arena passes PettingZoo's suites and our own checks, with several parameter settings each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import arenas
from arenas.testing import check_arena

SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("lewis", {}),
    ("lewis", {"n": 2, "k": 1}),
    ("lewis", {"n": 30, "k": 7}),
    ("reference", {}),
    ("reference", {"attributes": 1, "values": 2, "distractors": 1, "length": 1, "alphabet": 1}),
    ("reference", {"attributes": 12, "values": 10, "distractors": 9, "length": 5, "alphabet": 3}),
    ("reference", {"attributes": 2, "values": 3, "distractors": 8}),
    ("reconstruction", {}),
    ("reconstruction", {"partial": False, "held_out": 0.25}),
    ("reconstruction", {"attributes": 1, "values": 2, "length": 1, "alphabet": 1}),
    ("reconstruction", {"attributes": 4, "values": 5, "length": 2, "held_out": 0.2}),
    ("matrix", {}),
    ("matrix", {"game": "prisoners_dilemma", "rounds": 5}),
    ("matrix", {"game": "penalty", "k": -5, "rounds": 2}),
    ("matrix", {"game": "stag_hunt", "rounds": 3, "talk": 2, "alphabet": 3}),
    ("matrix", {"payoffs": [[[1, 2], [0, 0.5], [3, -1]], [[4, 0], [2, 2], [1, 1]]], "rounds": 3}),
]


@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=str)
def test_conformance(name: str, options: dict[str, Any]) -> None:
    check_arena(lambda: arenas.make(name, **options))


@pytest.mark.parametrize("game", arenas.matrix.classics())
def test_conformance_of_the_classics(game: str) -> None:
    check_arena(lambda: arenas.make("matrix", game=game, rounds=2))


def test_every_arena_is_among_the_settings() -> None:
    assert {name for name, _ in SETTINGS} == set(arenas.names())


def test_suites_are_silent(capsys: pytest.CaptureFixture[str]) -> None:
    check_arena(arenas.ARENAS["lewis"])
    assert capsys.readouterr() == ("", "")


def test_a_whole_arena_fits_on_a_screen() -> None:
    assert len(Path(arenas.lewis.__file__).read_text().splitlines()) <= 60


def test_import_needs_neither_pytest_nor_torch() -> None:
    program = "import sys, arenas.testing; print(*{'pytest', 'torch', 'protocols', 'marl'}.intersection(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""
