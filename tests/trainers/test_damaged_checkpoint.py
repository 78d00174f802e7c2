"""A damaged checkpoint is passed over for the one before it, with a warning; without digests it is refused."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from marl.errors import UserError
from marl.rundir.folder import RunDir
from tests.marl.conftest import marl
from tests.trainers.test_resume import StopError, config, crash, stop_after
from trainers.run import Run


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with checkpoints 2 and 4 that did not come to its end."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(StopError):
        Run(config(out)).train(stop_after(5, crash))
    return out


def without_digests(checkpoint: Path) -> Path:
    """Make a checkpoint look as older versions wrote it."""
    state = json.loads((checkpoint / "state.json").read_text())
    del state["files"], state["digest"]
    (checkpoint / "state.json").write_text(json.dumps(state))
    return checkpoint


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garbage(text: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(text.encode("latin-1"))

    write.__name__ = text
    return write


def renamed(path: Path) -> None:
    """Damage names of entries, so that a value would be missed only when it is used."""
    path.write_bytes(path.read_bytes().replace(b'"receiver_0":', b'"receiver_1":').replace(b'"files"', b'"filez"'))


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
        ("trainer.json", renamed),
    ],
)
def test_a_damaged_checkpoint_without_digests_is_refused_in_one_sentence(
    stopped: Path, tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    damage(without_digests(RunDir(out).newest()) / name)
    with pytest.raises(UserError, match="is damaged") as error:
        Run(config(out)).train()
    assert "\n" not in str(error.value)
    assert str(RunDir(out).newest()) in str(error.value)


def test_a_checkpoint_without_digests_is_resumed_from(stopped: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    without_digests(RunDir(out).newest())
    assert Run(config(out)).train()["updates"] == 6


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    Run(config(out)).train()
    return out


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    place = random.Random(path.name).randrange(len(raw))
    raw[place] ^= 1 << place % 8
    path.write_bytes(raw)


FILES = ("critic.safetensors", "optimizers.safetensors", "trainer.json", "state.json", POLICY)
TOKENIZER = ("policies/receiver_0/tokenizer.json", "policies/receiver_0/config.json")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *((name, flip) for name in (*FILES, *TOKENIZER)),
        *((name, Path.unlink) for name in FILES),
        (POLICY, cut),
        *(("state.json", damage) for damage in (*JSON, empty)),
        ("state.json", renamed),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    stopped: Path,
    whole: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    damage: Callable[[Path], None],
) -> None:
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    newest = RunDir(out).newest()
    assert newest.name == "000004"
    damage(newest / name)
    assert RunDir(out).newest().name == "000002"
    (line,) = caplog.messages
    assert f"{newest} is damaged ({name}" in line
    assert line.endswith("000002 is used instead")
    Run(config(out)).train()
    assert caplog.messages == [line], "it is said once"
    assert sorted(p.name for p in (out / "checkpoints").iterdir()) == ["000004", "000004.damaged", "000006"]
    last = "checkpoints/000006/optimizers.safetensors"
    for path in (last, f"checkpoints/000006/{POLICY}", "logs/train.jsonl.gz", "logs/eval.jsonl.gz"):
        assert (out / path).read_bytes() == (whole / path).read_bytes()


def test_a_run_whose_checkpoints_are_all_damaged_is_left_as_it_is(stopped: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    for path in RunDir(out).numbered():
        flip(path / POLICY)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    done = marl("train", out)
    assert (done.code, done.out) == (2, "")
    assert "000004 is damaged (policies/sender_0/model.safetensors has changed" in done.err
    assert "as is each before it" in done.err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_frozen_version_of_the_league_that_changed_is_named(tmp_path: Path) -> None:
    out, settings = tmp_path / "run", {"league": {"every": 1}}
    with pytest.raises(StopError):
        Run(config(out, **settings)).train(stop_after(2, crash))
    for path in out.glob(f"league/*/{POLICY.partition('/')[2]}"):
        flip(path)
    with pytest.raises(UserError, match=r"of the league, is missing or damaged \(.*has changed since it was written"):
        Run(config(out, **settings)).train()


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
