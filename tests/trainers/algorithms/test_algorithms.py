"""Every named assembly makes an update; what makes no sense together is refused before the first step."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from marl.credit.arrays import episode_arrays
from marl.errors import UserError
from marl.models.language_model import LanguageModel
from marl.rundir.folder import RunDir
from marl.scenario.world import World
from protocols.log import load
from tests.marl.worlds import WORLDS, played, seated, world
from tests.trainers.games import Moving, Noting, policies, trainer, weights
from trainers.algorithm import ASSEMBLIES, AlgorithmConfig, TypeName
from trainers.batch import Batch, collate
from trainers.run import Run
from trainers.run_config import RunConfig


def config(out: Path, **settings: Any) -> RunConfig:
    algorithm = {"critic_width": 16, "critic_layers": 1, "critic_heads": 2, **settings.pop("algorithm", {})}
    options = {
        "scenario": {"arena": {"name": "lewis", "n": 3, "k": 3}},
        "out": out,
        "updates": 2,
        "episodes": 16,
        "policy": {"width": 16, "layers": 1, "heads": 2},
        "algorithm": algorithm,
    }
    return RunConfig.model_validate(options | settings)


@pytest.mark.parametrize("name", get_args(TypeName))
def test_every_assembly_learns_without_complaint(name: str, tmp_path: Path) -> None:
    run = Run(config(tmp_path / "run", algorithm={"type": name, "forks": 2}))
    before = {seat: weights(lm) for seat, lm in run.trainer.policies.items()}
    run.train()
    assert all(not torch.equal(before[seat], weights(lm)) for seat, lm in run.trainer.policies.items())
    logs = list(load(RunDir(tmp_path / "run").train_log))
    dealt = {log.deal.get("like", log.episode) for log in logs if log.episode.startswith("train-0-")}
    assert len(dealt) == 16 // run.config.algorithm.deal_group


def test_the_names_are_those_of_the_table() -> None:
    assert set(ASSEMBLIES) == set(get_args(TypeName))
    assert AlgorithmConfig.model_validate({"type": "magrpo", "group": 4}).group == 4, "a key that is given wins"
    assert AlgorithmConfig.model_validate({"type": "magrpo"}).credit == "group"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"credit": "group", "group": 4}, 'has a baseline of its own: set critic = "none"'),
        ({"credit": "group", "critic": "none"}, "set group to 2 or more"),
        ({"credit": "counterfactual", "critic": "own"}, "asks the critic about joint moves"),
        ({"credit": "counterfactual", "critic": "none"}, "asks the critic about joint moves"),
        ({"type": "c3", "kl": 0.1, "kl_in": "reward"}, 'set kl_in = "loss"'),
        ({"order": "one_by_one", "minibatches": 2}, "set minibatches = 1"),
    ],
)
def test_settings_that_make_no_sense_together_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AlgorithmConfig.model_validate(settings)


def test_broken_groups_and_unknown_policies_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"episodes \(16\) must be a multiple of algorithm\.group \(3\)"):
        config(tmp_path, algorithm={"type": "magrpo", "group": 3})
    with pytest.raises(UserError, match="no policy 'nobody' to freeze or pace; there are sender_0, receiver_0"):
        Run(config(tmp_path, algorithm={"frozen": ["nobody"]}))
    with pytest.raises(UserError, match="no policy 'nobody'"):
        Run(config(tmp_path, algorithm={"entropies": {"nobody": {}}}))


@pytest.mark.parametrize(
    ("sharing", "message"),
    [
        ({"a": ["sender_0"]}, "nobody plays receiver_0"),
        ({"a": ["sender_0", "receiver_0"], "b": ["sender_0"]}, "sender_0 is in a and in b"),
        ({"a": ["sender_0", "reader_0"]}, "sharing.a: no seat 'reader_0'; the seats are sender_0, receiver_0"),
    ],
)
def test_groups_of_seats_divide_up_the_seats(sharing: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        Run(config(tmp_path, sharing=sharing))


def test_groups_of_seats_share_a_policy(tmp_path: Path) -> None:
    run = Run(config(tmp_path / "run", sharing={"both": ["sender_0", "receiver_0"]}))
    assert run.trainer.seats == {"sender_0": "both", "receiver_0": "both"}
    run.train()
    from marl.rundir.load import trained

    assert {policy.name for policy in trained(tmp_path / "run").seats.values()} == {"both"}


def chatted(name: str = "repeated matrix", models: int = 2, count: int = 6) -> Any:
    here = world(**WORLDS[name])
    by_name = policies(here, models)
    return here, by_name, played(here, seated(here, *by_name.values()), count)


def noting(here: World, models: dict[str, LanguageModel], **settings: Any) -> Noting:
    learner = trainer(here, models, Noting, **settings)
    assert isinstance(learner, Noting)
    return learner


def test_frozen_policies_stay_and_others_take_turns() -> None:
    here, models, episodes = chatted()
    learner = trainer(here, models, Moving, frozen=["p1"], lrs={"p0": 1e-3})
    still = weights(models["p1"])
    learner.update(episodes)
    assert torch.equal(still, weights(models["p1"]))
    assert learner.optimizers["p0"].param_groups[0]["lr"] == 1e-3
    here, models, episodes = chatted()
    learner = trainer(here, models, Moving, alternate=2)
    moved = []
    for _ in range(5):
        before = {name: weights(lm) for name, lm in models.items()}
        learner.update(episodes)
        moved.append([name for name, lm in models.items() if not torch.equal(before[name], weights(lm))])
    assert moved == [["p0"], ["p0"], ["p1"], ["p1"], ["p0"]]


def test_stale_replies_are_context_only() -> None:
    here, models, episodes = chatted(models=1)
    learner = noting(here, models, stalest=1)
    learner.update(episodes)
    assert float(learner.noted["p0"][-1].norm()) > 0
    learner.version = 2  # the episodes are of version 0
    assert learner.update(episodes)["policy/p0/entropy"] == 0
    assert float(learner.noted["p0"][-1].norm()) == 0


def test_divergence_is_zero_at_the_start_and_seen_later() -> None:
    here, models, episodes = chatted(models=1)
    learner = noting(here, models, kl=1e4)
    first = learner.update(episodes)
    assert first["policy/p0/divergence"] == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        for parameter in models["p0"].model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    replayed = played(here, seated(here, *models.values()), 6)
    moved = learner.update(replayed)
    assert moved["policy/p0/divergence"] > 1e-4


def test_divergence_in_the_reward_is_paid_by_who_replied() -> None:
    here, models, episodes = chatted(models=2)
    learner = noting(here, models, kl=0.5, kl_in="reward")
    with torch.no_grad():
        for parameter in learner.policy_step.references["p0"].model.parameters():
            parameter += 0.05
    arrays = episode_arrays(episodes, 1.0)
    rewards = learner.policy_step.kl_penalised(arrays, episodes, learner.seats)
    lm, reference = models["p0"], learner.policy_step.references["p0"]
    for e, episode in enumerate(episodes):
        for k, turn in enumerate(episode.turns):
            i = episode.agents.index(turn.agent)
            paid = arrays.rewards[e, k] - rewards[e, k]
            assert paid[1 - i] == 0
            if learner.seats[turn.agent] != "p0":
                assert paid[i] == pytest.approx(0, abs=1e-5)
    reference.mask_table = lm.mask_table
    assert np.abs(arrays.rewards - rewards).max() > 1e-4


def test_stale_behaviour_is_weighed_and_the_raw_weight_reported() -> None:
    here, models, episodes = chatted(models=1)
    same = noting(here, models)
    same.update(episodes)
    capped = noting(here, models, behaviour_cap=2.0)
    metrics = capped.update(episodes)
    assert metrics["policy/p0/behaviour_ratio"] == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(capped.noted["p0"][0], same.noted["p0"][0], atol=1e-5, rtol=1e-3)


def test_the_weights_that_stale_replies_are_measured_from_stay_through_an_update() -> None:
    here, models, episodes = chatted(models=1)
    learner = trainer(here, models, Moving, behaviour_cap=2.0, epochs=2, lr=0.05)
    assert learner.update(episodes)["policy/p0/kl"] > 1e-5, (
        "in the second pass the ratio is to the weights before the first"
    )


def test_the_critics_scale_sees_the_targets_of_an_update_once() -> None:
    here, models, episodes = chatted(models=2)
    learner = trainer(here, models, credit="counterfactual", value_norm=True)
    learner.update(episodes)
    assert learner.assignment.scale.sums[0] == pytest.approx(0.01)


@pytest.mark.parametrize("per", ["token", "reply", "constant"])
def test_the_weights_of_a_batch_are_the_mean_that_was_asked_for(per: str) -> None:
    here, models, episodes = chatted("chat, all effects", models=1)
    batch = collate(models["p0"], episodes, here.agents, np.zeros((len(episodes), 99)))
    w = trainer(here, models, per=per, longest=10).policy_step.weights(batch)
    assert float(w[~batch.trained].abs().sum()) == 0
    numbers = torch.unique(batch.reply[batch.trained])
    for number in numbers:
        inside = w[batch.trained & (batch.reply == number)]
        expected = {"token": 1 / batch.tokens, "reply": 1 / len(inside) / len(numbers), "constant": 0.1 / len(numbers)}
        assert inside.tolist() == pytest.approx([expected[per]] * len(inside), rel=1e-4)


def test_the_critic_may_take_several_steps_for_one_of_the_policies() -> None:
    here, models, episodes = chatted(count=40)
    losses = []
    for steps in (1, 2, 3):
        learner = trainer(here, models, Moving, critic_steps=steps, frozen=list(models))
        first = learner.update(episodes)["critic/loss"]
        state = learner.optimizers["critic"].state.values()
        assert {int(adam["step"]) for adam in state} == {steps}
        losses.append((first, learner.update(episodes)["critic/loss"]))
    assert len({first for first, _ in losses}) == 1, "what is reported is from before the first step"
    assert losses[0][1] > losses[1][1] > losses[2][1]


def test_divergence_may_be_that_of_messages_alone() -> None:
    here, models, episodes = chatted("chat, all effects", models=1)
    learner = noting(here, models, kl=1.0, kl_on="said")
    batch = collate(models["p0"], episodes, here.agents, np.zeros((len(episodes), 99)))
    assert learner.policy_step.penalised(batch).bool().tolist() == batch.said[batch.trained].tolist()
    said = {turn.spec.kind for episode in episodes for turn in episode.turns}
    assert said == {"say", "move"}
    assert 0 < float(learner.policy_step.penalised(batch).mean()) < 1


def test_messages_and_policies_may_have_an_entropy_bonus_of_their_own() -> None:
    here, models, _ = chatted("chat, all effects", models=2)
    entropy, most, said = torch.tensor([0.2, 0.2]), torch.tensor([0.7, 0.7]), torch.tensor([True, False])
    bonus = {weight: {"random": weight, "settled": weight} for weight in (0.1, 0.2, 0.5)}
    learner = noting(here, models, entropy=bonus[0.1], message_entropy=bonus[0.5])
    assert learner.policy_step.bonus("p0", entropy, most, said, 0).tolist() == pytest.approx([0.5, 0.1])
    learner = noting(here, models, entropy=bonus[0.1], entropies={"p1": bonus[0.2]})
    assert learner.policy_step.bonus("p0", entropy, most, said, 0).tolist() == pytest.approx([0.1, 0.1])
    assert learner.policy_step.bonus("p1", entropy, most, said, 0).tolist() == pytest.approx([0.2, 0.2])


def test_a_target_steers_the_entropy_bonus_up_below_it_and_down_above() -> None:
    here, models, episodes = chatted(models=1)
    factors = {}
    for target in (0.01, 0.99):
        learner = noting(here, models, entropy={"random": 0.1, "settled": 0.1, "target": target})
        learner.update(episodes)
        factors[target] = learner.policy_step.steered["p0"]
    assert factors[0.01] < 0 < factors[0.99]


def test_the_second_agent_is_weighed_by_what_the_first_has_become() -> None:
    """HAPPO's factor, worked out from the log-probabilities before and after the first agent's step."""
    here, models, episodes = chatted(models=2, count=8)
    learner = trainer(here, models, Moving, order="one_by_one", lr=0.05, normalise=False)
    seen: list[tuple[str, Batch]] = []
    step = learner.policy_step
    arrays = episode_arrays(episodes, 1.0)
    ones = np.where(arrays.actor >= 0, 1.0, np.nan)
    batches = {name: collate(lm, episodes, learner.seats_of(name), ones) for name, lm in models.items()}
    original = type(step).__call__

    class Watched(type(step)):  # type: ignore[misc]
        def __call__(self, name: str, batch: Batch, *rest: Any) -> Any:
            seen.append((name, batch))
            return original(self, name, batch, *rest)

    step.__class__ = Watched
    step.one_by_one(batches, arrays, episodes, 0, 1)
    (first, _), (second, weighed) = seen
    before = batches[first]
    with torch.no_grad():
        now = models[first].score(before.ids, before.trained, before.mask_rows[before.trained]).logp
    change: dict[tuple[int, int], float] = {}
    for e, k, d in zip(
        before.episode[:, None].expand_as(before.turn)[before.trained].tolist(),
        before.turn[before.trained].tolist(),
        (now - before.behavior_logprobs[before.trained]).tolist(),
        strict=True,
    ):
        stage = (e, episodes[e].turns[k].stage)
        change[stage] = change.get(stage, 0.0) + d
    at = weighed.trained
    e = weighed.episode[:, None].expand_as(weighed.turn)[at].tolist()
    stages = [episodes[i].turns[k].stage for i, k in zip(e, weighed.turn[at].tolist(), strict=True)]
    expected = [float(np.exp(change[i, s])) for i, s in zip(e, stages, strict=True)]
    assert weighed.advantage[at].tolist() == pytest.approx(expected, rel=1e-4)
    assert {first, second} == set(models)
    assert max(abs(value - 1) for value in expected) > 1e-3


def test_the_critic_shares_no_weight_with_a_policy() -> None:
    here, models, _ = chatted(models=1)
    learner = trainer(here, models)
    assert learner.critic is not None
    policy = {p.data_ptr() for p in models["p0"].parameters()}
    assert not policy & {p.data_ptr() for p in learner.critic.network.parameters()}


def test_a_run_stops_at_a_score(tmp_path: Path) -> None:
    """Where the optimum is a mean over deals no single episode need reach it."""
    settings = {"updates": 9, "evaluate_every": 3}
    assert Run(config(tmp_path / "any", stop_score=0.0, **settings)).train()["updates"] == 3
    assert Run(config(tmp_path / "none", stop_score=1.1, **settings)).train()["updates"] == 9
