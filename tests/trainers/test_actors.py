"""Training with remote actors: the same run as with local ones, and the errors for unusable actors."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from marl.errors import UserError
from marl.policy.scripted import Random
from marl.remote.host import Host
from marl.remote.weights import WeightFollowers
from protocols import log
from tests.brokers import broker
from tests.marl.remote.elsewhere import elsewhere
from trainers.run import Run
from trainers.run_config import RunConfig

SMALL: dict[str, Any] = {
    "episodes": 16,
    "updates": 3,
    "evaluate_every": 3,
    "policy": {"width": 16, "heads": 2},
    "algorithm": {"critic_width": 16, "critic_heads": 2},
}
runs = (f"train-{n}" for n in count())


def config(out: Path, arena: str, **settings: Any) -> RunConfig:
    return RunConfig.model_validate({"scenario": {"arena": {"name": arena}}, "out": out, **SMALL, **settings})


@pytest.mark.parametrize("name", ["amqtt", "mosquitto"])
@pytest.mark.parametrize("sharing", ["separate", "shared"])
def test_the_same_training_with_actors_elsewhere(tmp_path: Path, name: str, sharing: str) -> None:
    """Log-probabilities and versions come back over the wire, so every update is what it would have been."""
    home = Run(config(tmp_path / "home", "lewis", sharing=sharing))
    home.train()
    run = next(runs)
    url = broker(name).url
    host = {"url": url, "run": run, "wait": 60.0}
    away = Run(config(tmp_path / "away", "lewis", sharing=sharing, host=host))
    followers = WeightFollowers(away.world.agents)
    with elsewhere(url, run, followers.policies, renew=followers.renew):
        away.train()
    one, other = (list(log.load(trained.dir.train_log)) for trained in (home, away))
    assert [logged.to_bytes() for logged in one] == [logged.to_bytes() for logged in other]
    first, second = (logged.dir.read_metrics() for logged in (home, away))
    for row, same in zip(first, second, strict=True):
        for key, value in row.items():
            if not key.startswith("time/"):
                assert same[key] == pytest.approx(value, rel=1e-3, abs=1e-5), key
        checked = {key: value for key, value in same.items() if key.startswith("actors/")}
        assert checked == {f"actors/{seat}/{what}": 0.0 for seat in away.world.agents for what in ("untrue", "undrawn")}
    assert sorted(path.name for path in (away.dir.path / "weights").iterdir()) == ["000002", "000003"]
    assert json.loads(away.dir.summary.read_text())["updates"] == 3


def test_some_seats_here(tmp_path: Path) -> None:
    run = next(runs)
    host = {"url": broker("mosquitto").url, "run": run, "seats": ["sender_0"], "tokens": {"sender_0": "x"}}
    away = Run(config(tmp_path, "lewis", host=host))
    followers = WeightFollowers(["sender_0"])
    with elsewhere(broker("mosquitto").url, run, followers.policies, token="x", renew=followers.renew):
        away.train()
    assert away.trainer.version == 3


def test_an_actor_that_does_not_follow_is_refused(tmp_path: Path) -> None:
    run, url = next(runs), broker("mosquitto").url
    away = Run(config(tmp_path, "lewis", host={"url": url, "run": run}))
    with elsewhere(url, run, {seat: Random() for seat in away.world.agents}):
        with pytest.raises(
            UserError, match="the actor on sender_0 is random and cannot be trained: start it with marl"
        ):
            away.train()
        with Host(url, run, away.world.agents) as host:
            host.ready(20)  # and leaving it tells the seats that the run is over


def test_an_unknown_seat_is_rejected(tmp_path: Path) -> None:
    away = Run(config(tmp_path, "lewis", host={"url": "mqtt://localhost", "seats": ["nobody"]}))
    with pytest.raises(UserError, match=r"host\.seats: no seat 'nobody'; the seats are sender_0, receiver_0"):
        away.train()
