"""`init_from`: a run that begins with the weights of another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from marl.errors import UserError
from marl.rundir import load
from trainers.run import Run, RunConfig, run

SMALL: dict[str, Any] = {
    "updates": 2,
    "episodes": 8,
    "policy": {"width": 16, "layers": 1, "heads": 2},
    "algorithm": {"critic_width": 16, "critic_layers": 1, "critic_heads": 2},
}


def config(out: Path, arena: dict[str, Any] | None = None, **settings: Any) -> RunConfig:
    scenario = {"arena": arena or {"name": "lewis", "n": 3, "k": 3}}
    return RunConfig.model_validate(SMALL | {"scenario": scenario, "out": out, **settings})


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parent") / "run"
    run(config(folder))
    return folder


def test_a_run_begins_with_the_weights_of_another(parent: Path, tmp_path: Path) -> None:
    child = Run(config(tmp_path / "child", seed=9, init_from=parent, algorithm={"type": "ippo", "critic": "none"}))
    weights = load.models(load.trained(parent))
    for seat, name in child.trainer.seats.items():
        own = child.trainer.policies[name].model.state_dict()
        assert all(torch.equal(own[key], value) for key, value in weights[seat].model.state_dict().items())
    assert child.trainer.version == 0
    assert child.train()["updates"] == 2


def test_a_checkpoint_may_be_named_instead_of_the_run(parent: Path, tmp_path: Path) -> None:
    Run(config(tmp_path / "child", init_from=parent / "checkpoints" / "000002"))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"arena": {"name": "lewis", "n": 4, "k": 4}}, "its words are others"),
        ({"policy": {"width": 32, "layers": 1, "heads": 2}}, "must be those of that run"),
        ({"sharing": "shared"}, "has no policy"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_a_sentence(
    settings: dict[str, Any], sentence: str, parent: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=sentence):
        Run(config(tmp_path / "child", init_from=parent, **settings))


def test_a_run_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere does not exist"):
        Run(config(tmp_path / "child", init_from=tmp_path / "nowhere"))
