"""A run that was stopped ends as one that never was."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marl.errors import UserError
from marl.rundir.folder import RunDir
from trainers.run import Progress, Run, run
from trainers.run_config import RunConfig

UPDATES = 6
SETTINGS: dict[str, dict[str, Any]] = {
    "separate": {},
    "shared": {"sharing": "shared"},
    "minibatches": {"algorithm": {"epochs": 2, "minibatches": 2}},
    "curriculum": {"curriculum": {"parameter": "n", "start": 2, "up": 0.4, "down": 0.3, "patience": 1}},
    "league": {"sharing": "shared", "league": {"every": 1, "size": 3, "share": 0.5}},
    "league, separate": {"league": {"every": 2, "opponents": 1, "matchmaking": "latest"}},
    "running averages": {"algorithm": {"value_norm": True, "entropy": {"target": 0.5}}},
    "roles": {"algorithm": {"type": "rae", "kl": 0.1}},
    "futures": {"algorithm": {"type": "c3", "forks": 2, "alternate": 2}},
    "shaping": {"algorithm": {"shaping": {"influence": 0.1, "speaking": 0.1, "listening": 0.5, "others": 2}}},
    "no critic": {"algorithm": {"critic": "none", "credit": "monte_carlo"}},
}


def config(out: Path, **settings: Any) -> RunConfig:
    algorithm = {"critic_width": 16, "critic_layers": 1, "critic_heads": 2, **settings.pop("algorithm", {})}
    return RunConfig.model_validate(
        {
            "scenario": {"arena": {"name": "lewis", "n": 3, "k": 3}, "channel": [{"type": "noise", "p": 0.2}]},
            "out": out,
            "updates": UPDATES,
            "episodes": 6,
            "log_episodes": 4,
            "evaluate_every": 2,
            "checkpoint_every": 2,
            "threads": 1,
            "policy": {"width": 16, "layers": 1, "heads": 2},
            "algorithm": algorithm,
            **settings,
        }
    )


class StopError(Exception):
    """Somebody pulled the plug."""


def stop_after(update: int, how: Callable[[], None]) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.update == update:
            how()

    return report


def crash() -> None:
    raise StopError


def left(out: Path) -> dict[str, bytes]:
    """Everything a run leaves that does not depend on the time of day."""
    folder = RunDir(out)
    kept = {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.suffix in (".safetensors", ".gz", ".json") and path.name != "state.json"
    }
    summary = json.loads(kept.pop("summary.json"))
    del summary["training_seconds"]
    rows = [{k: v for k, v in row.items() if not k.startswith("time/")} for row in folder.read_metrics()]
    assert [row["update"] for row in rows] == list(range(1, UPDATES + 1))
    return kept | {"summary": json.dumps(summary).encode(), "metrics": json.dumps(rows).encode()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, bytes]]:
    """What runs leave that were never stopped."""
    done: dict[str, dict[str, bytes]] = {}

    def run_once(name: str) -> dict[str, bytes]:
        if name not in done:
            out = tmp_path_factory.mktemp("whole")
            run(config(out / "run", **SETTINGS[name]))
            done[name] = left(out / "run")
        return done[name]

    return run_once


Whole = Callable[[str], dict[str, bytes]]


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("update", [2, 3])
def test_a_resumed_run_ends_with_the_same_bytes(tmp_path: Path, whole: Whole, name: str, update: int) -> None:
    out = tmp_path / "run"
    with pytest.raises(StopError):
        Run(config(out, **SETTINGS[name])).train(stop_after(update, crash))
    assert RunDir(out).newest().name == "000002"
    assert len(RunDir(out).read_metrics()) == update
    Run(config(out, **SETTINGS[name])).train()
    actual, expected = left(out), whole(name)
    assert {path for path in expected if "optimizers" in path}
    assert {path for path in expected if "train.jsonl.gz" in path}
    assert actual.keys() == expected.keys()
    assert [path for path in expected if actual[path] != expected[path]] == []


def test_a_run_can_be_stopped_over_and_over(tmp_path: Path, whole: Whole) -> None:
    out = tmp_path / "run"
    for update in (2, 3, 5):
        with pytest.raises(StopError):
            Run(config(out)).train(stop_after(update, crash))
    run(config(out))
    assert left(out) == whole("separate")


def test_another_seed_leaves_other_bytes(tmp_path: Path, whole: Whole) -> None:
    run(config(tmp_path / "run", seed=2))
    actual, expected = left(tmp_path / "run"), whole("separate")
    assert actual.keys() == expected.keys()
    assert sum(actual[path] != expected[path] for path in expected) > 6


def test_an_interrupt_lets_the_update_finish_and_keeps_it(
    tmp_path: Path, whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    stopped = Run(config(out))
    update = stopped.trainer.update

    def interrupted(episodes: Any) -> Any:
        if stopped.trainer.version == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return update(episodes)

    monkeypatch.setattr(stopped.trainer, "update", interrupted)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    assert signal.getsignal(signal.SIGINT) is before
    assert RunDir(out).newest().name == "000003"
    run(config(out))
    kept = {path: raw for path, raw in left(out).items() if "000003" not in path}
    expected = whole("separate")
    assert all(kept[path] == expected[path] for path in kept)
    assert {"logs/train.jsonl.gz", "logs/eval.jsonl.gz", "summary", "metrics"} <= kept.keys()


def test_a_full_disk_stops_a_run_that_can_be_resumed(
    tmp_path: Path, whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        stopped = Run(config(out))
        append = stopped.dir.append_logs

        def full(logs: Any) -> None:
            if stopped.trainer.version == 4:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            append(logs)

        patch.setattr(stopped.dir, "append_logs", full)
        with pytest.raises(OSError, match="No space left"):
            stopped.train()
    run(config(out))
    assert left(out) == whole("separate")


def test_a_finished_run_is_not_run_over(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(config(out, updates=1))
    before = {path: path.read_bytes() for path in out.rglob("*.safetensors")}
    with pytest.raises(UserError, match="holds a finished run"):
        run(config(out, updates=1))
    assert {path: path.read_bytes() for path in out.rglob("*.safetensors")} == before


def test_one_episode_an_update_is_enough(tmp_path: Path) -> None:
    summary = run(config(tmp_path / "run", updates=1, episodes=1, log_episodes=0))
    assert summary["episodes"] == 1
