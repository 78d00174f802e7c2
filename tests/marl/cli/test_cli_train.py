from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from protocols.log import load
from tests.marl.conftest import TINY, marl

EXPECTED = {
    *("config.toml", "metrics.jsonl", "summary.json", "provenance.jsonl", "report.html"),
    *("checkpoints", "logs", "tensorboard"),
}


def test_a_run_leaves_its_folder_and_says_how_it_went(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    result = marl("train", "lewis", f"out={folder}", *TINY)
    assert result.code == 0
    assert {path.name for path in folder.iterdir()} == EXPECTED
    for line in ("random replies", "best without talk", "this run", "optimum"):
        assert line in result.out
    assert f"report: {folder}/report.html" in result.err
    assert "4 updates, 64 episodes" in result.err


def test_the_default_folder_is_named_after_the_arena(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert marl("train", "matrix", *TINY).code == 0
    assert (tmp_path / "runs" / "matrix" / "summary.json").is_file()


def test_a_toml_file_is_a_configuration(tmp_path: Path, run: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text((run / "config.toml").read_text())
    result = marl("train", config, f"out={tmp_path / 'run'}")
    assert result.code == 0
    new, old = (json.loads((path / "summary.json").read_text()) for path in (tmp_path / "run", run))
    assert new["evaluation"] == old["evaluation"]


def test_a_finished_run_is_not_overwritten_unless_asked(tmp_path: Path, run: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    keepsake = folder / "notes.txt"
    keepsake.write_text("mine")
    before = (folder / "metrics.jsonl").read_bytes()
    result = marl("train", "lewis", f"out={folder}", *TINY)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ")
    assert "finished run" in result.err
    assert "--overwrite" in result.err
    assert (folder / "metrics.jsonl").read_bytes() == before
    assert marl("train", "lewis", f"out={folder}", *TINY, "updates=2", "--overwrite").code == 0
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2
    assert keepsake.read_text() == "mine"


def unfinish(run: Path, folder: Path, checkpoint: str = "000002") -> None:
    """Copy a run as it stood when it was interrupted after a checkpoint."""
    shutil.copytree(run, folder)
    (folder / "summary.json").unlink()
    for path in (folder / "checkpoints").iterdir():
        if path.name != checkpoint:
            shutil.rmtree(path)


def test_an_unfinished_run_goes_on_to_the_same_end(tmp_path: Path, run: Path) -> None:
    folder = tmp_path / "run"
    unfinish(run, folder)
    result = marl("train", "lewis", f"out={folder}", *TINY)
    assert result.code == 0
    assert "resuming after update 2" in result.err
    for name in ("logs/train.jsonl.gz", "logs/eval.jsonl.gz"):
        assert (folder / name).read_bytes() == (run / name).read_bytes()


def test_the_folder_of_a_run_goes_on_with_it_wherever_it_was_moved(tmp_path: Path, run: Path) -> None:
    folder = tmp_path / "moved"
    unfinish(run, folder)
    result = marl("train", folder)
    assert result.code == 0
    assert f"{folder}: resuming after update 2" in result.err
    assert (folder / "summary.json").is_file()


def test_an_unfinished_run_of_another_configuration_is_left_alone(tmp_path: Path, run: Path) -> None:
    folder = tmp_path / "run"
    unfinish(run, folder)
    result = marl("train", "lewis", f"out={folder}", *TINY, "seed=7", "algorithm.lr=0.01")
    assert result.code == 2
    assert "unfinished run with another configuration (seed, algorithm.lr)" in result.err
    assert not (folder / "summary.json").exists()


def test_a_finished_run_goes_on_with_more_updates_as_if_it_had_never_stopped(tmp_path: Path, run: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    kept = (folder / "config.toml").read_bytes()
    result = marl("train", folder, "updates=3")
    assert (result.code, (folder / "config.toml").read_bytes()) == (2, kept)
    assert "holds a finished run of 4 updates: resume with more updates=" in result.err
    result = marl("train", folder, "updates=8", "stop_at=2")
    assert result.code == 0, result.err
    assert "resuming after update 4" in result.err
    assert marl("train", "lewis", f"out={tmp_path / 'whole'}", *TINY, "updates=8", "stop_at=2").code == 0
    for name in ("logs/train.jsonl.gz", "logs/eval.jsonl.gz"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert tomllib.loads((folder / "config.toml").read_text())["updates"] == 8


def test_a_run_that_never_came_to_a_checkpoint_begins_again(tmp_path: Path, run: Path) -> None:
    folder = tmp_path / "run"
    unfinish(run, folder, checkpoint="none")
    result = marl("train", "lewis", f"out={folder}", *TINY)
    assert result.code == 0
    assert "starting again" in result.err
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 4


def test_ctrl_c_ends_after_the_update_and_says_how_to_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "marl", "train", "lewis", f"out={folder}", *TINY, "updates=100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 60
        while not (folder / "metrics.jsonl").exists() and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"resume with: marl train {folder}" in err
    assert "Traceback" not in err
    reached = int(max(os.listdir(folder / "checkpoints")))
    assert f"stopped after update {reached}" in err
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == reached


def test_the_control_run_of_a_run_closes_a_channel_in_a_folder_of_its_own(
    tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, "mine")
    result = marl("train", "mine", "--close", "public")
    assert result.code == 0
    assert "this run, public closed" in result.out
    control = tmp_path / "mine-closed-public"
    old, new = (tomllib.loads((folder / "config.toml").read_text()) for folder in (run, control))
    assert new["scenario"].pop("closed") == ["public"]
    assert (new.pop("out"), old.pop("out")) == ("mine-closed-public", str(run))
    assert new == old  # nothing else is different
    summary = json.loads((control / "summary.json").read_text())
    assert summary["closed"] == ["public"]
    assert summary["evaluation"]["train"]["score"] == summary["evaluation"]["anchors"]["silent"]
    assert "Control run without communication on public" in (control / "report.html").read_text()
    assert "Control run" not in (run / "report.html").read_text()
    assert json.loads((run / "summary.json").read_text())["closed"] == []
    for name in ("logs/train.jsonl.gz", "logs/eval.jsonl.gz"):
        logs = list(load(control / name))
        assert {h.body for logged in logs for entry in logged.entries for h in entry.heard} == {None}
    assert marl("replay", control, "--verify").code == 0
    # The folder itself goes on with it, and closing the same channel twice is closing it once.
    assert "finished run" in marl("train", control, "--close", "public").err
    assert marl("train", control, "--close", "public", "--overwrite").code == 0
    assert marl("train", "lewis", "--close", "public", f"out={tmp_path / 'there'}", *TINY).code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "mine-closed-public", "there"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["lewis", "--close", "side"], "there is no channel 'side' to close; there are public"),
        (["lewis", "scenario.closed=3", "--close", "side"], "lewis: scenario.closed: Input should be a valid tuple"),
        (["lewsi"], "no arena 'lewsi': did you mean lewis?"),
        (["nowhere.toml"], "nowhere.toml: No such file or directory"),
        (["lewis", "algorithm.lrr=3"], "lewis: there is no setting algorithm.lrr; did you mean algorithm.lr?"),
        (["lewis", "updates=many"], "lewis: updates: Input should be a valid integer"),
        (["lewis", "updates"], "an override looks like algorithm.lr=0.001, not 'updates'"),
        (["lewis", "scenario.arena.n=1", "out=never"], "lewis needs n >= 2 states"),
        (["lewis", "scenario.arena.q=1", "out=never"], "it takes n, k"),
        (["lewis", "policy.heads=7", "out=never"], "the models cannot be built as configured"),
        (["lewis", "device=nonsense", "out=never"], "the models cannot be built as configured"),
        (["lewis", "out=/dev/null/run", "updates=1"], "/dev/null/run"),
        ([], "Missing argument 'CONFIG_OR_ARENA'"),
    ],
)
def test_a_bad_request_is_one_sentence(
    arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = marl("train", *arguments)
    assert (result.code, result.out) == (2, "")
    (line,) = [line for line in result.err.splitlines() if not line.startswith("update ")]
    assert line.startswith("error: ")
    assert sentence in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("seed = ", "is not TOML"),
        (
            "[scenario.arena]\nname = 'lewis'\n[algoritm]\nlr = 1",
            "there is no setting algoritm; did you mean algorithm?",
        ),
        ("seed = 1", "scenario: Field required"),
        ("[scenario.arena]\nname = 'lewsi'", "did you mean lewis?"),
    ],
)
def test_a_bad_file_is_one_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    config = tmp_path / "bad.toml"
    config.write_text(text)
    result = marl("train", config, f"out={tmp_path / 'run'}")
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert sentence in result.err
    assert not (tmp_path / "run").exists()


def test_a_damaged_checkpoint_is_one_sentence(tmp_path: Path, run: Path) -> None:
    folder = tmp_path / "run"
    unfinish(run, folder)
    (weights,) = (folder / "checkpoints" / "000002").glob("critic.safetensors")
    weights.write_bytes(b"nothing of the kind")
    result = marl("train", folder)
    assert result.code == 2
    assert "is damaged" in result.err
    assert "Traceback" not in result.err


def test_a_report_that_cannot_be_made_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    result = marl("train", "lewis", f"out={tmp_path / 'run'}", *TINY)
    assert result.code == 0
    assert "no report: this needs the package jinja2: pip install 'sabir[report]'" in result.err
