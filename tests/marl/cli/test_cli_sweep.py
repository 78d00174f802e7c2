from __future__ import annotations

import fcntl
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from marl.rundir.folder import RunDir
from marl.sweep.plan import load
from tests.marl.conftest import TINY, marl

SETTINGS = (*TINY, "algorithm.credit=sequential,team")
pytestmark = pytest.mark.timeout(300)  # several processes, each of which loads torch


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of two configurations and two seeds: look, do not touch."""
    folder = tmp_path_factory.mktemp("swept") / "sweep"
    result = marl("sweep", "lewis", *SETTINGS, "updates=2", f"out={folder}", "--seeds", 2, "--jobs", 2)
    assert result.code == 0, result.err
    assert "2 configurations x 2 seeds, 4 runs, 2 at once" in result.err
    assert "runs 4/4" in result.err
    return folder


def runs(folder: Path) -> list[RunDir]:
    return [member.dir for member in load(folder).members(folder)]


def measured(run: RunDir) -> list[dict[str, object]]:
    return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in run.read_metrics()]


def test_a_sweep_leaves_ordinary_runs_and_what_they_say_together(swept: Path) -> None:
    assert {path.name for path in swept.iterdir()} == {
        *("sweep.toml", "lewis", "table.md", "sweep.html", "results.json")
    }
    assert len(runs(swept)) == 4
    for run in runs(swept):
        names = {path.name for path in run.path.iterdir()}
        assert names == {
            "config.toml",
            "metrics.jsonl",
            "summary.json",
            "provenance.jsonl",
            "checkpoints",
            "logs",
            "tensorboard",
        }
        assert len(run.read_metrics()) == 2
    assert "credit=team" in (swept / "table.md").read_text()
    assert "</svg>" in (swept / "sweep.html").read_text()
    exported = json.loads((swept / "results.json").read_text())["sabir"]["lewis"]
    assert {name: list(entries) for name, entries in exported.items()} == {
        f"credit={credit}": ["seed_1", "seed_2"] for credit in ("sequential", "team")
    }
    assert marl("eval", runs(swept)[0].path).code == 0


def test_the_same_runs_one_after_the_other_are_the_same(swept: Path, tmp_path: Path) -> None:
    """A run of a sweep is what `marl train` makes of its configuration."""
    there = runs(swept)[1]
    assert marl("train", there.config, f"out={tmp_path / 'run'}", "--no-report").code == 0
    assert measured(RunDir(tmp_path / "run")) == measured(there)
    assert not (tmp_path / "run" / "report.html").exists()


def test_what_is_finished_is_not_run_again(swept: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    shutil.copytree(swept, folder)
    for path in ("table.md", "results.json"):
        (folder / path).unlink()
    before = {path: path.stat().st_mtime_ns for path in folder.glob("lewis/**/*")}
    result = marl("sweep", folder)
    assert result.code == 0
    assert "4 of 4 runs done" in result.err
    assert {path: path.stat().st_mtime_ns for path in folder.glob("lewis/**/*")} == before
    assert (folder / "table.md").read_text() == (swept / "table.md").read_text()
    assert (folder / "results.json").read_text() == (swept / "results.json").read_text()
    shown = marl("sweep", "--table", folder)
    assert shown.code == 0
    assert shown.out.splitlines()[:3] == result.out.splitlines()[:3]


def test_one_run_fails_another_goes_on_and_the_exit_code_says_so(swept: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    shutil.copytree(swept, folder)
    broken, stopped, *_ = runs(folder)
    for run in (broken, stopped):
        run.summary.unlink()
    (critic,) = broken.newest().glob("critic.safetensors")
    critic.write_bytes(b"nothing of the kind")
    stopped.metrics.write_text(stopped.metrics.read_text().partition("\n")[0] + "\n")
    shutil.rmtree(stopped.checkpoints)  # killed before its first checkpoint
    result = marl("sweep", folder)
    assert result.code == 1
    assert "failed: lewis, credit=sequential, seed 1: " in result.err
    assert "is damaged" in result.err
    assert "Traceback" not in result.err
    assert f"1 of 4 runs failed; try them again with: marl sweep {folder}" in result.err
    assert "1/2" in result.out
    assert measured(stopped) == measured(runs(swept)[1])
    assert stopped.finished
    assert not broken.finished
    shutil.rmtree(broken.path)
    assert marl("sweep", folder).code == 0
    assert measured(broken) == measured(runs(swept)[0])


def started(folder: Path, *more: str) -> subprocess.Popen[str]:
    """Begin a sweep that would go on for ever, and wait until two runs are at work."""
    command = [sys.executable, "-m", "marl", "sweep", "lewis", *SETTINGS, "updates=100000", f"out={folder}", *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 200
    while len(list(folder.glob("*/*/*/metrics.jsonl"))) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.1)
    return process


def assert_two_can_be_resumed(folder: Path) -> None:
    begun = [run for run in runs(folder) if run.exists]
    assert len(begun) == 2
    for run in begun:
        assert not run.finished
        assert len(run.read_metrics()) == int(run.newest().name)  # a checkpoint of the last update it made


def test_ctrl_c_leaves_every_run_at_a_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    with started(folder, "--jobs", "2", "--seeds", "3") as process:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=100)
    assert process.returncode == 130
    assert f"stopped; resume with: marl sweep {folder}" in err
    assert "Traceback" not in err
    assert_two_can_be_resumed(folder)


def test_the_runs_of_a_sweep_that_was_killed_stop_and_nobody_joins_them(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    with started(folder, "--jobs", "2", "--seeds", "3") as process:
        second = marl("sweep", folder)
        process.kill()
        process.communicate()
    assert (second.code, second.out) == (2, "")
    assert f"error: {folder}: a sweep is running there" in second.err
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the runs have let go
    assert_two_can_be_resumed(folder)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


ARENA = "[scenario.arena]\nname = 'lewis'\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            lambda at: ["lewis", "algorithm.credt=team"],
            "lewis: there is no setting algorithm.credt; did you mean algorithm.credit?",
        ),
        (lambda at: [write(at, f"{ARENA}[sweep]\nupdates = []")], "mine: sweep.updates: a list of at least one value"),
        (lambda at: [write(at, f"{ARENA}[sweep]\nseeds = 0")], "seeds: at least one is needed"),
        (lambda at: ["lewis", "--seeds", "none"], "seeds: a number, such as 10, or a list, such as 1,2,5; not 'none'"),
        (lambda at: ["updates=3"], "name what to sweep first"),
        (lambda at: ["nowhere.toml"], "nowhere.toml: No such file or directory"),
        (lambda at: ["--table", "nowhere"], "nowhere does not exist"),
        (lambda at: ["--table", at.parent], "holds no sweep: it has no sweep.toml"),
        (lambda at: ["--table", at.parent, "updates=3"], "--table takes the folder of a sweep alone"),
        (lambda at: ["lewis", "--jobs", "0"], "Invalid value for '--jobs'"),
        (lambda at: ["lewis", "out=/dev/null/sweep"], "/dev/null/sweep"),
    ],
)
def test_a_bad_request_is_one_sentence(
    arguments: Callable[[Path], list[object]], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = marl("sweep", *arguments(tmp_path / "mine.toml"))
    assert (result.code, result.out) == (2, "")
    (line,) = [line for line in result.err.splitlines() if line.strip()]
    assert line.startswith("error: ")
    assert sentence in line
    assert not [path for path in tmp_path.iterdir() if path.name != "mine.toml"]


def test_the_folder_of_another_sweep_or_of_a_run_is_left_alone(swept: Path, run: Path) -> None:
    before = (swept / "sweep.toml").read_text()
    for words in (["lewis", "algorithm.lr=1e-3,1e-4"], ["lewis", *SETTINGS, "updates=9"]):
        result = marl("sweep", *words, f"out={swept}")
        assert (result.code, result.out) == (2, "")
        assert f"error: {swept} holds another sweep (lewis, credit=sequential, " in result.err
    assert (swept / "sweep.toml").read_text() == before
    assert f"{run} holds a run, not a sweep" in marl("sweep", "lewis", f"out={run}").err
    assert "to resume a sweep, give the folder" in marl("sweep", swept, "updates=9").err
