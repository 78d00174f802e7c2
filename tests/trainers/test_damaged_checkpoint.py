"""A checkpoint that is damaged is refused in one sentence, and the one before it is there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from marl.errors import UserError
from marl.rundir.folder import RunDir
from tests.trainers.test_resume import StopError, config, crash, stop_after
from trainers.run import Run


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with checkpoints 2 and 4 that did not come to its end."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(StopError):
        Run(config(out)).train(stop_after(5, crash))
    return out


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garbage(text: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(text.encode("latin-1"))

    write.__name__ = text
    return write


POLICY = "policies/sender_0/model.safetensors"
JSON = [garbage(text) for text in ("{", "[]", "null", "7", "\xff\xfe", '"x"', '{"version": "x", "sizes": 3}')]


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *(
            (name, damage)
            for name in (POLICY, "critic.safetensors", "optimizers.safetensors")
            for damage in (cut, empty)
        ),
        *((name, Path.unlink) for name in (POLICY, "critic.safetensors", "optimizers.safetensors", "trainer.json")),
        *(("trainer.json", damage) for damage in JSON),
        *(("state.json", damage) for damage in (*JSON, empty, Path.unlink)),
    ],
)
def test_a_damaged_checkpoint_is_refused_in_one_sentence(
    stopped: Path, tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    damage(RunDir(out).newest() / name)
    with pytest.raises(UserError, match="is damaged") as error:
        Run(config(out)).train()
    assert "\n" not in str(error.value)
    assert str(RunDir(out).newest()) in str(error.value)


def test_without_the_damaged_one_the_run_goes_on_from_the_one_before(stopped: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "run"
    Run(config(whole)).train()
    shutil.copytree(stopped, out)
    newest = RunDir(out).newest()
    assert newest.name == "000004"
    cut(newest / POLICY)
    with pytest.raises(UserError):
        Run(config(out)).train()
    shutil.rmtree(newest)
    Run(config(out)).train()
    last = "checkpoints/000006/optimizers.safetensors"
    for path in (last, f"checkpoints/000006/{POLICY}", "logs/train.jsonl.gz", "logs/eval.jsonl.gz"):
        assert (out / path).read_bytes() == (whole / path).read_bytes()


def other_sizes(layers: int, width: int) -> dict[str, object]:
    return {"policy": {"width": width, "layers": layers, "heads": 2}}


@pytest.mark.parametrize(("layers", "width"), [(2, 16), (1, 32)])
def test_a_checkpoint_of_another_model_is_refused(stopped: Path, tmp_path: Path, layers: int, width: int) -> None:
    """A deeper model would find weights for some of its layers and keep random ones in the others."""
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    with pytest.raises(UserError, match="of another configuration"):
        Run(config(out, **other_sizes(layers, width))).train()


def test_a_shallower_model_does_not_take_up_a_deeper_ones_weights(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(StopError):
        Run(config(out, **other_sizes(2, 16))).train(stop_after(2, crash))
    with pytest.raises(UserError, match="of another configuration"):
        Run(config(out)).train()
