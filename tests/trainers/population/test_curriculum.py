"""The level follows success: up and down by its rule, never beyond the ends, and only through fitting worlds."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marl.errors import UserError
from marl.rundir.folder import RunDir
from marl.scenario.config import Scenario
from marl.scenario.world import World
from protocols.log import load
from trainers.population.curriculum import Curriculum, CurriculumConfig
from trainers.run import Run
from trainers.run_config import RunConfig


def world(name: str = "lewis", **parameters: Any) -> World:
    return World(Scenario.model_validate({"arena": {"name": name, **parameters}}))


def curriculum(goal: int = 5, **settings: Any) -> Curriculum:
    config = {"parameter": "n", "start": 2, "up": 0.75, "down": 0.25, "patience": 2} | settings
    return Curriculum(CurriculumConfig.model_validate(config), world(n=goal, k=5))


def observe(made: Curriculum, share: float) -> int:
    """Let so many of four episodes reach the optimum."""
    full = made.world.anchors.full
    assert full is not None
    made.observe([SimpleNamespace(score=full if i < share * 4 else full - 1) for i in range(4)])  # type: ignore[misc]
    return made.level


def test_it_gets_harder_after_successes_in_a_row_and_easier_after_failures() -> None:
    made = curriculum()
    assert made.levels == [2, 3, 4, 5]
    assert [observe(made, share) for share in (1, 0.5, 1, 0.75)] == [2, 2, 2, 3], "between the limits a row is broken"
    assert [observe(made, 1) for _ in range(6)] == [3, 4, 4, 5, 5, 5]
    assert [observe(made, share) for share in (0, 1, 0, 0.25, 0, 0)] == [5, 5, 5, 4, 4, 3]


@given(st.lists(st.sampled_from([0, 0.25, 0.5, 0.75, 1]), max_size=40), st.integers(1, 3), st.integers(1, 4))
def test_levels_stay_between_the_ends_and_move_by_one_step(shares: list[float], step: int, patience: int) -> None:
    made = curriculum(step=step, patience=patience)
    levels = [made.level, *(observe(made, share) for share in shares)]
    places = [made.levels.index(level) for level in levels]
    assert all(abs(b - a) <= 1 for a, b in pairwise(places))
    assert made.world.scenario.arena.model_extra == {"n": made.level, "k": 5}


def test_it_leads_down_too_and_ends_at_the_scenario_itself() -> None:
    made = Curriculum(CurriculumConfig(parameter="k", start=7, step=3), world(n=2, k=2))
    assert made.levels == [7, 4, 2]
    assert set(made.words) == set(world(n=2, k=7).vocabulary), "models know the words of every level"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"parameter": "m"}, "lewis has no range called 'm'; its ranges: n, k"),
        ({"start": 1}, "n of lewis goes from 2 to"),
    ],
)
def test_levels_that_do_not_fit_are_refused_in_one_sentence(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        curriculum(**settings)


def test_a_run_plays_the_level_and_evaluates_the_goal(tmp_path: Path) -> None:
    config = RunConfig.model_validate(
        {
            "scenario": {"arena": {"name": "lewis", "n": 4, "k": 4}},
            "curriculum": {"parameter": "n", "start": 2, "up": 0.1, "patience": 2},
            "out": tmp_path / "run",
            "updates": 5,
            "episodes": 16,
            "log_episodes": 2,
            "policy": {"width": 16, "layers": 1, "heads": 2},
            "algorithm": {"critic_width": 16, "critic_layers": 1, "critic_heads": 2},
        }
    )
    Run(config).train()
    folder = RunDir(config.out)
    assert [row["curriculum/n"] for row in folder.read_metrics()] == [2, 2, 3, 3, 4]
    played = [log.scenario["arena"]["n"] for log in load(folder.train_log)]
    assert played == [2, 2, 2, 2, 3, 3, 3, 3, 4, 4]
    assert {log.scenario["arena"]["n"] for log in load(folder.eval_log)} == {4}
