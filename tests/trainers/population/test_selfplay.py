"""Frozen opponents play with the weights of their time, and nothing of theirs is learned from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from marl import credit
from marl.cli.app import main
from marl.episode import Episode
from marl.errors import UserError
from marl.inference.server import PolicyServer
from marl.policy.base import Policy
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.rundir.folder import RunDir
from protocols.log import load
from tests.marl.worlds import lm_for, world
from tests.trainers.games import Noting, policies, trainer, weights
from trainers.batch import collate
from trainers.population.league import named
from trainers.run import Run
from trainers.run_config import RunConfig

MATRIX = world("matrix", arena={"game": "rock_paper_scissors", "rounds": 2})


def config(out: Path, **settings: Any) -> RunConfig:
    arena = {"name": "matrix", "game": "rock_paper_scissors"}
    return RunConfig.model_validate(
        {
            "scenario": {"arena": arena},
            "out": out,
            "updates": 4,
            "episodes": 8,
            "evaluate_every": 4,
            "checkpoint_every": 2,
            "policy": {"width": 16, "layers": 1, "heads": 2},
            "algorithm": {"critic_width": 16, "critic_layers": 1, "critic_heads": 2},
            "league": {"every": 1, "share": 0.5},
            **settings,
        }
    )


def against(frozen: str = "player_1") -> tuple[Any, list[Episode]]:
    """A trainer of a shared policy, and episodes in which another one is a seat's frozen opponent."""
    models = policies(MATRIX)
    made = trainer(MATRIX, models, Noting)
    live = PolicyServer(models["p0"], "p0")
    opponent = PolicyServer(lm_for(MATRIX, seed=9), named("p0", 0))
    seats: dict[str, Policy] = {seat: opponent if seat == frozen else live for seat in MATRIX.agents}
    return made, collect(MATRIX, [Plan(f"e{i}", seats, 1) for i in range(12)])


@pytest.mark.parametrize("estimator", [credit.sequential, credit.team, credit.individual, credit.monte_carlo])
def test_a_frozen_opponent_gets_no_credit_and_its_values_no_target(estimator: Any) -> None:
    _, episodes = against()
    arrays = credit.episode_arrays(episodes, 1.0)
    values = np.random.default_rng(1).normal(size=(12, 5, 2))
    found = estimator(arrays, values, 0.95)
    assert (np.isnan(found.advantage) == (arrays.actor == 1)).all()
    assert np.isnan(found.target[..., 1]).all()
    own = found.advantage[arrays.actor == 0]
    assert np.isfinite(own).all()
    normal = credit.normalise(found.advantage, arrays.actor, 2)
    assert normal[arrays.actor == 0] == pytest.approx((own - own.mean()) / own.std())
    assert np.isnan(normal[arrays.actor == 1]).all()


def test_no_token_of_a_frozen_opponent_is_trained_whatever_credit_says() -> None:
    made, episodes = against("player_0")
    batch = collate(made.policies["p0"], episodes, MATRIX.agents, np.ones((12, 4)))
    assert len(batch.ids) == 12, "one transcript for each episode: the learner's"
    assert batch.tokens == 24
    drawn = [turn.sample.behavior_logprobs[0] for e in episodes for turn in e.turns if turn.agent == "player_1"]
    assert batch.behavior_logprobs[batch.trained].tolist() == pytest.approx(drawn)


def test_an_update_takes_its_gradient_from_the_learner_alone() -> None:
    """What a frozen opponent would have been credited with changes nothing; its replies at other weights would."""
    made, episodes = against()
    made.update(episodes)
    (found,) = made.noted["p0"]
    again, _ = against()
    arrays = credit.episode_arrays(episodes, 1.0)
    values, _ = again.assignment.values(episodes, arrays, 1)
    advantage = credit.sequential(arrays, values, 0.95).advantage
    advantage = credit.normalise(advantage, arrays.actor, 2)
    lm = again.policies["p0"]
    batch = collate(lm, episodes, ["player_0"], advantage)
    logp, _ = lm.score(batch.ids, batch.trained, batch.mask_rows[batch.trained])
    loss = -((logp - logp.detach()).exp() * batch.advantage[batch.trained]).sum() / 24
    loss.backward()
    parts = [p.grad.ravel() if p.grad is not None else torch.zeros(p.numel()) for p in lm.model.parameters()]
    torch.testing.assert_close(found, torch.cat(parts), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("sharing", ["shared", "separate"])
def test_a_run_plays_its_share_against_the_weights_of_then(tmp_path: Path, sharing: str) -> None:
    made = Run(config(tmp_path / "run", sharing=sharing))
    assert made.selfplay is not None
    past: dict[int, torch.Tensor] = {}
    update = made.trainer.update

    def noted(episodes: Any) -> Any:
        assert made.selfplay is not None
        for version, servers in made.selfplay._met.items():
            for name, server in servers.items():
                then = load_file(made.selfplay.place(version) / name / "model.safetensors")
                assert all(torch.equal(server.lm.model.state_dict()[key], value) for key, value in then.items())
        name = next(iter(made.trainer.policies))
        past[made.trainer.version] = weights(made.trainer.policies[name].model)
        return update(episodes)

    made.trainer.update = noted  # type: ignore[method-assign]
    summary = made.train()
    name = next(iter(made.trainer.policies))
    for version, then in past.items():
        kept = lm_for(made.world)  # the right words; another size
        kept.model = type(kept.model)(made.trainer.policies[name].model.config)
        made.selfplay.take(kept, version, name)
        assert torch.equal(weights(kept.model), then)
    logs = list(load(RunDir(tmp_path / "run").train_log))
    by_update = [logs[i : i + 8] for i in range(0, 32, 8)]
    for version, of_update in enumerate(by_update):
        frozen = [{seat: name for seat, name in log.seats.items() if "@" in name} for log in of_update]
        assert [len(names) for names in frozen] == [1, 1, 0, 0, 1, 1, 0, 0]
        assert {int(name.partition("@")[2]) for names in frozen for name in names.values()} <= set(
            range(max(version, 1))
        )
        for names in frozen:
            for seat, name in names.items():
                assert name.partition("@")[0] == ("shared" if sharing == "shared" else seat)
    rows = RunDir(tmp_path / "run").read_metrics()
    assert [row["league/share"] for row in rows] == [0.5] * 4
    assert all(row["league/win"] + row["league/draw"] + row["league/loss"] == pytest.approx(1) for row in rows)
    assert [member["version"] for member in summary["league"]["members"]] == [0, 1, 2, 3, 4]
    assert summary["league"]["mean"] == rows[-1]["league/rating"]


def test_weights_that_nobody_may_ask_for_again_are_removed(tmp_path: Path) -> None:
    Run(config(tmp_path / "run", updates=6, league={"every": 1, "size": 2})).train()
    kept = sorted(path.name for path in (tmp_path / "run" / "league").iterdir())
    assert kept == ["000000", "000004", "000006"], "of the last checkpoint and the one before"


def test_what_cannot_be_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leave one of them out"):
        Run(config(tmp_path / "run", host={"url": "mqtt://localhost"}))


class StopError(Exception):
    pass


def stopped(out: Path, **settings: Any) -> None:
    def stop(progress: Any) -> None:
        if progress.update == 3:
            raise StopError

    with pytest.raises(StopError):
        Run(config(out, **settings)).train(stop)


@pytest.mark.parametrize("sharing", ["shared", "separate"])
def test_exploitability_is_measured_the_same_by_the_run_its_resumption_and_eval(
    tmp_path: Path, sharing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out, settings = tmp_path / "run", {"sharing": sharing, "evaluate_every": 1}
    whole = Run(config(tmp_path / "whole", **settings)).train()
    stopped(out, **settings)
    summary = Run(config(out, **settings)).train()
    names = ("exploitability", "exploitability_average")
    rows, expected = (RunDir(path).read_metrics() for path in (out, tmp_path / "whole"))
    assert [[row[f"eval/{name}"] for name in names] for row in rows] == [
        [row[f"eval/{name}"] for name in names] for row in expected
    ]
    assert rows[-1]["eval/exploitability"] > 0.01, "nobody is at the equilibrium by chance"
    assert rows[-1]["eval/exploitability"] != rows[-1]["eval/exploitability_average"]
    assert [summary[name] for name in names] == [whole[name] for name in names]
    with pytest.raises(SystemExit) as done:
        main(["eval", str(out), "--json"])
    assert done.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert [found[name] for name in names] == pytest.approx([whole[name] for name in names], abs=1e-6)
    assert [set(each["chances"]) for each in found["average_policy"]] == [{"rock", "paper", "scissors"}] * 2
    with pytest.raises(SystemExit):
        main(["eval", str(out)])
    assert f"of the average {whole['exploitability_average']:.4f}" in capsys.readouterr().out


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    out = tmp_path / "run"
    stopped(out)
    for file in (out / "league").glob("*/*/model.safetensors"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match=r"league/00000\d/player_0, of the league, is missing or dam"):
        Run(config(out)).train()
    (out / "league" / "000000").rename(out / "elsewhere")
    with pytest.raises(UserError, match="000000, frozen weights of the league, is gone"):
        Run(config(out)).train()
