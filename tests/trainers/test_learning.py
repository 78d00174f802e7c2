"""Two agents without a common language come to one."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainers.run import RunConfig, run


@pytest.mark.parametrize("sharing", ["separate", "shared"])
def test_a_code_for_three_states_emerges(tmp_path: Path, sharing: str) -> None:
    """The receiver never sees the state: all it can be right by is what the sender came to say."""
    config = {
        "scenario": {"arena": {"name": "lewis", "n": 3, "k": 3}},
        "out": tmp_path / "run",
        "updates": 300,
        "episodes": 128,
        "evaluate_every": 5,
        "stop_at": 1.0,
        "threads": 1,
        "sharing": sharing,
        "policy": {"width": 32, "layers": 1, "heads": 2, "init": 0.2},
        "algorithm": {
            "lr": 1e-3,
            "critic_lr": 1e-3,
            "critic_width": 32,
            "critic_layers": 1,
            "critic_heads": 2,
        },
    }
    summary = run(RunConfig.model_validate(config))
    assert summary["evaluation"]["train"]["success"] == 1.0
    assert summary["evaluation"]["train"]["communication_gain"] == 1.0
    assert summary["updates"] < 300
