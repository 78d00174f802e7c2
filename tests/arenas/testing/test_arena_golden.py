"""Transcripts of seeded random play do not change. To write them anew: REGENERATE_GOLDEN=1 pytest tests/arenas."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import arenas
from arenas.testing.suite import transcript
from tests.arenas.settings import SETTINGS

GOLDEN = Path(__file__).parents[2] / "golden" / "arenas"


def played(name: str) -> str:
    parts = []
    for options in SETTINGS[name][:3]:
        arena = arenas.make(name, **options)
        parts += [f"# {name} {options} seed {seed}\n{transcript(arena, seed)}" for seed in range(3)]
    return "\n".join(parts)


@pytest.mark.parametrize("name", arenas.names())
def test_transcripts_are_as_they_were(name: str) -> None:
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("REGENERATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(played(name))
    assert played(name) == path.read_text(), "if this is meant, run it once with REGENERATE_GOLDEN=1"
