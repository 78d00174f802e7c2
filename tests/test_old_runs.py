"""Runs and logs of version 0.1 load, play, resume and replay as they did then.

Made by the commands in tests/golden/run_of_0.1/README.md: `marl train reference out=talk ...`, and so on.
"""

from __future__ import annotations

import io
import json
import runpy
import shutil
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import pytest

OLD: Final = Path(__file__).parent / "golden" / "run_of_0.1"
RUNS: Final = ("talk", "selfplay")

every_run = pytest.mark.parametrize("name", RUNS)


def marl(*arguments: object) -> str:
    """Run the command as `python -m marl` does, but in this process; return what it prints."""
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", ["marl", *map(str, arguments)]),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as left,
    ):
        runpy.run_module("marl", run_name="__main__", alter_sys=True)
    assert left.value.code in (0, None), err.getvalue()
    return out.getvalue()


@pytest.fixture
def copy(tmp_path: Path, name: str) -> Path:
    """A run that may be changed."""
    return Path(shutil.copytree(OLD / name, tmp_path / name))


def numbers(item: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Yield all numbers of a JSON object, each with its path; times aside."""
    if isinstance(item, dict | list):
        pairs = item.items() if isinstance(item, dict) else enumerate(item)
        for key, value in pairs:
            yield from numbers(value, f"{path}.{key}")
    elif isinstance(item, int | float) and ".time/" not in path:
        yield path, item


def assert_close(actual: Any, expected: Any) -> None:
    """Fail unless two JSON objects hold the same numbers; another processor rounds sums otherwise."""
    assert dict(numbers(actual)) == pytest.approx(dict(numbers(expected)), rel=1e-3, abs=1e-5, nan_ok=True)


def rows(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@every_run
def test_evaluation_of_an_old_run_gives_the_same_figures(name: str, copy: Path) -> None:
    expected = json.loads((OLD / "expected" / f"{name}.eval.json").read_text())
    assert_close(json.loads(marl("eval", copy, "--json")), expected)


@every_run
def test_policies_of_an_old_checkpoint_play_the_same_episodes(name: str, copy: Path, tmp_path: Path) -> None:
    log = tmp_path / "played.jsonl"
    marl("play", copy, "--greedy", "--seed", 4, "--episodes", 4, "--log", log)
    assert log.read_bytes() == (OLD / "expected" / f"{name}.played.jsonl").read_bytes()


@every_run
def test_logs_of_an_old_run_replay_to_the_byte(name: str, copy: Path) -> None:
    printed = marl("replay", copy, "--verify")
    assert "train.jsonl.gz: 8 of 8 episodes identical" in printed
    assert printed.count("identical") == 2


def test_an_old_log_of_a_free_floor_replays_to_the_byte() -> None:
    assert "2 of 2 episodes identical" in marl("replay", OLD / "free_floor.jsonl", "--verify")


@every_run
def test_an_old_run_resumes_where_it_stood(name: str, copy: Path) -> None:
    marl("train", copy, "updates=3", "--no-report")
    metrics = (copy / "metrics.jsonl").read_bytes()
    assert metrics.startswith((OLD / name / "metrics.jsonl").read_bytes())
    assert_close(rows(copy / "metrics.jsonl"), rows(OLD / "expected" / f"{name}.metrics.jsonl"))
    logged, before = ((folder / "logs" / "train.jsonl.gz").read_bytes() for folder in (copy, OLD / name))
    assert logged.startswith(before)
    assert len(logged) > len(before)
