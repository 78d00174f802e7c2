"""Two agents without a common language come to one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from marl.rundir.folder import RunDir
from trainers.run import run
from trainers.run_config import RunConfig


def config(out: Path, init: float = 0.2, **settings: Any) -> RunConfig:
    """Enough for three states."""
    return RunConfig.model_validate(
        {
            "scenario": {"arena": {"name": "lewis", "n": 3, "k": 3}},
            "out": out,
            "updates": 300,
            "episodes": 128,
            "evaluate_every": 5,
            "stop_at": 1.0,
            "threads": 1,
            "policy": {"width": 32, "layers": 1, "heads": 2, "init": init},
            "algorithm": {
                "lr": 1e-3,
                "critic_lr": 1e-3,
                "critic_width": 32,
                "critic_layers": 1,
                "critic_heads": 2,
            },
        }
        | settings
    )


@pytest.mark.parametrize(("sharing", "init"), [("separate", 0.2), ("shared", 0.3)])
def test_a_code_for_three_states_emerges(tmp_path: Path, sharing: str, init: float) -> None:
    """The receiver never sees the state: all it can be right by is what the sender came to say."""
    summary = run(config(tmp_path / "run", init, sharing=sharing))
    assert summary["evaluation"]["train"]["success"] == 1.0
    assert summary["evaluation"]["train"]["communication_gain"] == 1.0
    assert summary["updates"] < 300


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_critic_of_joint_moves_teaches_to_talk(tmp_path: Path, seed: int) -> None:
    """COMA: no return reaches a policy but through what the critic has made of it. Without talk a third is right."""
    scenario = {"arena": {"name": "lewis", "n": 3, "k": 6}}
    algorithm = {"type": "coma", "forks": 2, "value_norm": True}
    settings: dict[str, Any] = {"scenario": scenario, "algorithm": algorithm, "policy": {"init": 0.3}, "seed": seed}
    figures = run(config(tmp_path / "run", episodes=64, updates=40, **settings))["evaluation"]["train"]
    assert figures["score"] > 0.6


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_with_the_channel_closed_the_same_run_ends_where_no_talk_gets(tmp_path: Path) -> None:
    """In sampled episodes too, where agents could also do worse than that, and cheats better."""
    open_ = run(config(tmp_path / "open"))
    scenario = {"arena": {"name": "lewis", "n": 3, "k": 3}, "closed": ["public"]}
    closed = run(config(tmp_path / "closed", scenario=scenario, updates=open_["updates"] + 20))
    assert open_["evaluation"]["train"]["success"] == 1.0
    assert closed["closed"] == ["public"]
    assert closed["updates"] == open_["updates"] + 20  # it never came to where the open run stopped
    silent = closed["evaluation"]["anchors"]["silent"]
    assert closed["evaluation"]["train"]["score"] == pytest.approx(silent)
    assert closed["evaluation"]["train"]["communication_gain"] == pytest.approx(0.0)
    scores = [row["train/score"] for row in RunDir(tmp_path / "closed").read_metrics()][-20:]
    assert sum(scores) / len(scores) == pytest.approx(silent, abs=0.04)  # 2560 episodes: four standard errors
