"""Every arena passes PettingZoo's suites and our own checks, with several parameter settings each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import arenas
from arenas.games.signalling import lewis
from arenas.games.social.matrix import classics
from arenas.testing.suite import check_arena
from tests.arenas.settings import CASES, SETTINGS


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_conformance(name: str, options: dict[str, Any]) -> None:
    check_arena(lambda: arenas.make(name, **options))


@pytest.mark.parametrize("game", classics())
def test_conformance_of_the_classics(game: str) -> None:
    check_arena(lambda: arenas.make("matrix", game=game, rounds=2))


def test_every_arena_is_among_the_settings() -> None:
    assert set(SETTINGS) == set(arenas.names())


def test_suites_are_silent(capsys: pytest.CaptureFixture[str]) -> None:
    check_arena(arenas.ARENAS["lewis"])
    assert capsys.readouterr() == ("", "")


def test_a_whole_arena_fits_on_a_screen() -> None:
    assert len(Path(lewis.__file__).read_text().splitlines()) <= 60


def test_import_needs_neither_pytest_nor_torch() -> None:
    program = "import sys, arenas.testing; print(*{'pytest', 'torch', 'protocols', 'marl'}.intersection(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""
