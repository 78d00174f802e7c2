"""Training with remote actors: the same run as with local ones, and the errors for unusable actors."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import count, cycle
from pathlib import Path
from typing import Any

import pytest

from marl.context.transcript import Transcript
from marl.episode import Sample
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


class Lying(WeightFollowers):
    """Followers of which one says of its replies what is not so, or says words that it did not draw."""

    def __init__(self, seats: Sequence[str], liar: str, lie: Callable[[Sample], Sample]) -> None:
        super().__init__(seats)
        honest = self.followers[liar].reply

        async def reply(transcript: Transcript, **asked: Any) -> Sample:
            return lie(await honest(transcript, **asked))

        self.followers[liar].reply = reply  # type: ignore[method-assign]


def lies() -> Callable[[Sample], Sample]:
    """Tell one lie after another about replies: a wrong number of what is false, or too small, or too large."""
    changes: list[Callable[[Sample], dict[str, Any]]] = [
        lambda s: {"behavior_logprobs": (-20.0,) * len(s.tokens)},
        lambda s: {"behavior_logprobs": (-1e30,) * len(s.tokens)},
        lambda s: {"behavior_logprobs": (0.5,) * len(s.tokens)},
        lambda s: {"tokens": (0,) * len(s.tokens)},
        lambda s: {"tokens": s.tokens * 3, "behavior_logprobs": s.behavior_logprobs * 3},
        lambda s: {"tokens": (), "behavior_logprobs": ()},
        lambda s: {"version": 2**31 - 1},
    ]
    turns = cycle(changes)
    return lambda sample: sample._replace(**next(turns)(sample))


def rows(run: Run) -> list[dict[str, Any]]:
    """The metrics, read as strict JSON."""

    def no_number(text: str) -> Any:
        raise ValueError(text)

    lines = run.dir.metrics.read_text().splitlines()
    return [json.loads(line, parse_constant=no_number) for line in lines]


def train_with_a_liar(out: Path, lie: Callable[[Sample], Sample], **settings: Any) -> Run:
    run, url = next(runs), broker("mosquitto").url
    away = Run(config(out, "lewis", host={"url": url, "run": run, "wait": 60.0}, **settings))
    followers = Lying(away.world.agents, "sender_0", lie)
    with elsewhere(url, run, followers.policies, renew=followers.renew):
        away.train()
    return away


def test_training_is_the_same_whatever_an_actor_says_of_its_replies(tmp_path: Path) -> None:
    home = Run(config(tmp_path / "home", "lewis"))
    home.train()
    away = train_with_a_liar(tmp_path / "away", lies())
    for row, same in zip(rows(home), rows(away), strict=True):
        for name, value in row.items():
            if not name.startswith("time/"):
                assert same[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name
        assert same["actors/sender_0/untrue"] >= 16  # those of an evaluation are counted in the update after it
        assert same["actors/receiver_0/untrue"] == same["actors/sender_0/undrawn"] == 0
    summary = json.loads(away.dir.summary.read_text())["actors"]
    assert summary["receiver_0"] == {"untrue": 0, "undrawn": 0}
    assert "(episode train-0-" in summary["sender_0"]["first"]


@pytest.mark.parametrize("algorithm", ["mappo", "ippo", "reinforce"])
def test_training_goes_on_where_an_actor_says_illegal_words(tmp_path: Path, algorithm: str) -> None:
    """Then nothing of that seat is trained on; the others learn."""
    size = {"critic_width": 16, "critic_heads": 2}
    away = train_with_a_liar(tmp_path, lambda s: Sample("zzz <pad>"), updates=2, algorithm={"type": algorithm, **size})
    for row in rows(away):
        assert row["rollout/illegal"] == 1
        assert row["policy/sender_0/grad"] == 0
        assert row["policy/receiver_0/grad"] > 0


def test_words_that_an_actor_chose_are_not_trained_on(tmp_path: Path) -> None:
    """Legal words with a consistent story, that the weights would say too, but did not draw."""

    def always(sample: Sample) -> Sample:
        return Sample("m1", lm.written(("m1",)), sample.behavior_logprobs, sample.version)

    lm = Run(config(tmp_path / "words", "lewis")).trainer.policies["sender_0"]
    away = train_with_a_liar(tmp_path / "away", always, updates=2)
    for row in rows(away):
        assert 4 < row["actors/sender_0/undrawn"] < 16  # some would have been m1
        assert row["actors/receiver_0/undrawn"] == 0


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
