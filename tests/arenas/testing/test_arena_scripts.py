"""Anchors are what play gives: uniformly random replies, and every script that an arena names after an anchor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import arenas
from arenas import Arena, ArenaError
from arenas.scripted import Script, uniform
from arenas.solvers.exact import expected_returns
from arenas.solvers.play import sample
from tests.arenas.settings import CASES, SCRIPTED

EPISODES = 600
NAMES = ("silent", "best", "full", "equilibrium")
FURTHER = [(name, options) for name, several in SCRIPTED.items() for options in several]
LISTED = 3_000  # deals times replies that may still be averaged exactly


def measured(arena: Arena, script: Script) -> tuple[float, float]:
    """Return a script's score, and by how much it may be off: nothing where all can be listed, else 4 standard errors.

    Seeds are fixed, so what is tested with it passes always or never.
    """
    if 0 < arena.cases <= LISTED and script is not uniform:
        try:
            returns = expected_returns(arena, dict.fromkeys(arena.possible_agents, script))
        except ArenaError:
            pass
        else:
            return sum(returns.values()) / len(returns), 1e-9
    scores = sample(arena, script, EPISODES)
    if script is uniform and np.ptp(scores) == 0:  # what has a chance of 10/n is missed n times with one of exp(-10)
        return float(scores[0]), float(arena.anchors().full - scores[0]) * 10 / EPISODES + 1e-9
    return float(scores.mean()), float(4 * scores.std(ddof=1) / EPISODES**0.5 + 1e-9)


@pytest.mark.parametrize(("name", "options"), CASES + FURTHER, ids=str)
def test_random_replies_score_random(name: str, options: dict[str, Any]) -> None:
    arena = arenas.make(name, **options)
    score, error = measured(arena, uniform)
    expected = arena.anchors().random
    assert expected is not None
    assert abs(score - expected) <= error


@pytest.mark.parametrize(("name", "options"), CASES + FURTHER, ids=str)
def test_scripts_score_what_they_are_named_after(name: str, options: dict[str, Any]) -> None:
    arena = arenas.make(name, **options)
    anchors = arena.anchors()
    for script, play in arena.scripts().items():
        assert script in NAMES, f"a script is named {', '.join(NAMES)}"
        score, error = measured(arena, play)
        if script == "best":
            assert anchors.full is not None
            assert score <= anchors.full + error
        else:
            assert abs(score - getattr(anchors, script)) <= error
        if script == "equilibrium" and anchors.values is not None:
            returns = expected_returns(arena, dict.fromkeys(arena.possible_agents, play))
            assert list(returns.values()) == pytest.approx(anchors.values)


@pytest.mark.parametrize(("name", "options"), FURTHER, ids=str)
def test_a_script_reaches_the_optimum(name: str, options: dict[str, Any]) -> None:
    assert "full" in arenas.make(name, **options).scripts()


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_a_silent_script_listens_to_nobody(name: str, options: dict[str, Any]) -> None:
    """Its replies stay the same whatever is said to it."""
    arena = arenas.make(name, **options)
    script = arena.scripts().get("silent")
    if script is None:
        return

    def deaf(memory: Any) -> Any:
        heard = tuple((who, words) for who, words in memory.seen if who in ("", memory.agent))
        answer = script(type(memory)(memory.agent, memory.spec, heard))
        assert answer == script(memory)
        return answer

    sample(arena, deaf, 20)
