"""One update: what is trained, by how much, and what is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from marl.context.traces import trace
from marl.credit.arrays import episode_arrays
from marl.credit.estimators import monte_carlo
from marl.episode import Episode
from marl.models.language_model import LanguageModel
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.scenario.world import World
from tests.marl.worlds import WORLDS, played, script, seated, world
from tests.trainers.games import Moving, Noting, gradient, policies, trainer, weights
from trainers import losses
from trainers.algorithm import AlgorithmConfig, with_pretrained_defaults
from trainers.batch import Batch, collate
from trainers.losses import PolicyLoss

PLAIN: dict[str, Any] = {"critic": "none", "credit": "monte_carlo", "normalise": False}


def chatted(count: int = 6, models: int = 1) -> tuple[World, dict[str, LanguageModel], list[Episode]]:
    here = world(**WORLDS["chat, all effects"])
    by_name = policies(here, models)
    return here, by_name, played(here, seated(here, *by_name.values()), count)


def noted(here: World, models: dict[str, LanguageModel], episodes: Sequence[Episode], **settings: Any) -> Noting:
    learner = trainer(here, models, Noting, **settings)
    assert isinstance(learner, Noting)
    learner.update(episodes)
    return learner


def tokens(episodes: Sequence[Episode], agents: Sequence[str]) -> int:
    """How many tokens were drawn among several, counted by hand."""
    total = 0
    for turn in (turn for episode in episodes for turn in episode.turns if turn.agent in agents):
        most = len(turn.spec.steps)
        total += min(len(turn.words) + 1, most) if turn.spec.least < most else most
    return total


def by_hand(lm: LanguageModel, episodes: Sequence[Episode], agents: Sequence[str], cut: int = 0) -> Tensor:
    """-sum A grad log pi, turn by turn, each in its own row; `cut` leaves out so many tokens at the end of replies."""
    for episode in episodes:
        arrays = episode_arrays([episode], 1.0)
        values = np.zeros((1, len(episode.turns) + 1, len(episode.agents)))
        advantage = monte_carlo(arrays, values, 1.0).advantage
        for agent in (agent for agent in episode.agents if agent in agents):
            path = trace(episode, agent, lm.open)
            for start, stop, index in path.spans:
                last = stop - cut
                ids = torch.tensor([path.ids[:last]])
                trained = torch.zeros_like(ids, dtype=torch.bool)
                trained[0, start:] = True
                rows = torch.tensor(lm.grammar(episode.turns[index].spec)[: last - start])
                loss = -advantage[0, index] * lm.score(ids, trained, rows).logp.sum()
                loss.backward()
    return gradient(lm)


def apart(found: Tensor, truth: Tensor) -> float:
    return float((found - truth).norm() / truth.norm())


def test_every_sampled_token_is_trained_with_its_reply_and_no_other() -> None:
    here, models, episodes = chatted()
    lm = models["p0"]
    noted_gradient = noted(here, models, episodes, **PLAIN).noted["p0"][0] * tokens(episodes, here.agents)
    assert apart(noted_gradient, by_hand(lm, episodes, here.agents)) < 1e-4
    assert apart(noted_gradient, by_hand(lm, episodes, here.agents, cut=1)) > 0.05, (
        "the last token of a reply is not trained"
    )


def test_each_policy_is_trained_on_its_own_seats() -> None:
    here, models, episodes = chatted(models=3)
    learner = noted(here, models, episodes, **PLAIN)
    for agent, (name, lm) in zip(here.agents, models.items(), strict=True):
        noted_gradient = learner.noted[name][0] * tokens(episodes, [agent])
        assert apart(noted_gradient, by_hand(lm, episodes, [agent])) < 1e-4


def test_what_another_agent_earned_moves_nothing_in_individual_credit() -> None:
    here, models, episodes = chatted(models=3)
    richer = [
        replace(episode, rewards=tuple((a, b + 5 * k, c) for k, (a, b, c) in enumerate(episode.rewards)))
        for episode in episodes
    ]
    settings = {**PLAIN, "credit": "individual"}
    before, after = (noted(here, models, batch, **settings).noted for batch in (episodes, richer))
    for name, moved in (("p0", False), ("p1", True), ("p2", False)):
        assert torch.equal(before[name][0], after[name][0]) is not moved


Pair = tuple[Tensor, Tensor]


@pytest.fixture
def ratios(monkeypatch: pytest.MonkeyPatch) -> list[Pair]:
    """Log-probabilities, new and old, of every call of the loss."""
    seen: list[Pair] = []
    original = losses.ppo_clip

    def spy(logprobs: Tensor, behavior_logprobs: Tensor, *rest: Any) -> PolicyLoss:
        seen.append((logprobs.detach().clone(), behavior_logprobs.clone()))
        return original(logprobs, behavior_logprobs, *rest)

    monkeypatch.setattr("trainers.algorithms.policy_step.ppo_clip", spy)
    return seen


@pytest.mark.parametrize("count", [1, 3])
def test_the_ratio_is_one_before_the_first_step_of_an_update_and_not_after(count: int, ratios: list[Pair]) -> None:
    here, models, episodes = chatted(models=count)
    learner = trainer(here, models, Moving, epochs=2, lr=0.05)
    metrics = learner.update(episodes)
    steps: dict[tuple[float, ...], list[Tensor]] = {}  # of each policy, in order; policies do not wait for each other
    for logp, old in ratios:
        steps.setdefault(tuple(old.tolist()), []).append(logp)
    assert len(steps) == count
    for sampled, (first, second) in steps.items():
        torch.testing.assert_close(first, torch.tensor(sampled), atol=1e-5, rtol=0)
        assert float((second - torch.tensor(sampled)).abs().max()) > 1e-2
    assert all(metrics[f"policy/{name}/kl"] > 1e-5 for name in models)


@pytest.mark.parametrize("count", [1, 3])
def test_old_log_probabilities_are_those_of_sampling_in_every_minibatch(count: int, ratios: list[Pair]) -> None:
    """Also with shared weights, where the first minibatch has already moved what all seats use."""
    here, models, episodes = chatted(9, count)
    trainer(here, models, Moving, minibatches=3, lr=0.05).update(episodes)
    assert len(ratios) == 3 * count
    old = torch.cat([pair[1] for pair in ratios]).sort().values
    sampled = [
        logp
        for episode in episodes
        for turn in episode.turns
        for logp, options in zip(turn.sample.behavior_logprobs, choices(turn.spec), strict=False)
        if options > 1
    ]
    torch.testing.assert_close(old, torch.tensor(sampled).sort().values, atol=0, rtol=0)


def choices(spec: Any) -> list[int]:
    return [len(step) + (place >= spec.least) for place, step in enumerate((*spec.steps, ()))]


def whole_batch(lm: LanguageModel, here: World, episodes: Sequence[Episode]) -> Batch:
    rng = np.random.default_rng(1)
    return collate(lm, episodes, here.agents, rng.normal(size=(len(episodes), max(len(e.turns) for e in episodes))))


def test_padding_and_the_size_of_micro_batches_change_nothing() -> None:
    here, models, episodes = chatted()
    batch = whole_batch(models["p0"], here, episodes)
    tensors = [getattr(batch, field.name) for field in fields(batch)]
    padded = Batch(*[pad(t, (0, 9, 0, 4) if t.ndim == 2 else (0, 4)) for t in tensors])
    backwards = batch.rows(torch.arange(len(batch.ids)).flip(0))

    def step(given: Batch, micro: int = 4096) -> Tensor:
        learner = trainer(here, models, Noting, entropy={"random": 0.3, "settled": 0.3}, micro_batch=micro)
        assert isinstance(learner, Noting)
        learner.policy_step("p0", given, episodes, 0)
        return learner.noted["p0"][0]

    plain = step(batch)
    assert float(plain.norm()) > 0.01
    for other in (step(padded), step(backwards), step(batch, 1), step(batch, 5), step(padded, 7)):
        torch.testing.assert_close(other, plain, atol=1e-6, rtol=1e-5)


def test_the_loss_is_divided_by_the_number_of_trained_tokens_once() -> None:
    """Splitting by hand and adding up gives the whole; a mean of means would not."""
    here, models, episodes = chatted(7)
    halves = (episodes[:2], episodes[2:])
    counts = [tokens(half, here.agents) for half in halves]
    assert counts[0] != counts[1]
    parts = [noted(here, models, half, **PLAIN).noted["p0"][0] for half in halves]
    whole = noted(here, models, episodes, **PLAIN).noted["p0"][0]
    together = sum((n * part for n, part in zip(counts, parts, strict=True)), torch.zeros(())) / sum(counts)
    torch.testing.assert_close(whole, together, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("fixed", [True, False])
def test_the_entropy_bonus_is_a_mean_over_tokens(fixed: bool) -> None:
    """A fixed weight times the entropy, or the square of how much of it is lost."""
    here, models, episodes = chatted()
    lm = models["p0"]
    settings = {**PLAIN, "normalise": True, "entropy": {"random": 0.25 * fixed, "settled": 0.25}}
    flat = [replace(episode, rewards=tuple((0.0,) * 3 for _ in episode.rewards)) for episode in episodes]
    noted_gradient = noted(here, models, flat, **settings).noted["p0"][0]
    batch = whole_batch(lm, here, flat)
    rows = batch.mask_rows[batch.trained]
    entropy, most = lm.score(batch.ids, batch.trained, rows).entropy, lm.masks[rows].sum(-1).log()
    loss = -0.25 * entropy if fixed else 0.25 * most / 2 * (1 - entropy / most) ** 2
    loss.mean().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(noted_gradient, gradient(lm), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("epochs", "minibatches"), [(1, 1), (2, 1), (1, 3), (2, 4)])
def test_each_model_takes_one_step_for_each_joint_minibatch(epochs: int, minibatches: int) -> None:
    here, models, episodes = chatted(8, 3)
    learner = noted(here, models, episodes, epochs=epochs, minibatches=minibatches)
    assert {name: len(steps) for name, steps in learner.noted.items()} == dict.fromkeys(
        ["p0", "p1", "p2", "critic"], epochs * minibatches
    )
    seen = [part.tolist() for part in learner.parts(8, epochs, minibatches)]
    for epoch in range(epochs):
        joint = seen[epoch * minibatches : (epoch + 1) * minibatches]
        assert sorted(e for part in joint for e in part) == list(range(8))
    assert [part.tolist() for part in learner.parts(8, epochs, minibatches)] == seen
    learner.version += 1
    assert minibatches == 1 or [part.tolist() for part in learner.parts(8, epochs, minibatches)] != seen


def test_step_sizes_fall_to_half_in_as_many_updates_as_configured() -> None:
    here, models, episodes = chatted(3)
    learner = trainer(here, models, lr_halving=2, lr=1e-3, critic_lr=2e-3)
    for share in (1, 0.5**0.5, 0.5):
        learner.update(episodes)
        rates = {name: optimizer.param_groups[0]["lr"] for name, optimizer in learner.optimizers.items()}
        assert rates == pytest.approx({"p0": share * 1e-3, "critic": share * 2e-3})


def test_plain_gradient_descent_goes_down_the_gradient() -> None:
    here, models, episodes = chatted(3)
    learner = trainer(here, models, optimizer="sgd", lr=0.5, max_grad_norm=1e9)
    before = weights(models["p0"].model)
    other = noted(here, models, episodes)
    learner.update(episodes)
    torch.testing.assert_close(before - weights(models["p0"].model), 0.5 * other.noted["p0"][0], atol=1e-6, rtol=1e-4)


def test_in_bfloat16_the_gradient_is_nearly_the_same() -> None:
    here, models, episodes = chatted(6)
    gradients = []
    for autocast in (False, True):
        learner = noted(here, models, episodes, autocast=autocast)
        gradients.append([learner.noted[name][0] for name in ("p0", "critic")])
    for exact, rough in zip(*gradients, strict=True):
        assert rough.dtype == torch.float32
        assert 1e-5 < float((rough - exact).norm() / exact.norm()) < 0.1


def test_pretrained_models_have_small_micro_batches_unless_configured() -> None:
    run = {"policy": {"hf": "somewhere"}, "algorithm": {"lr": 1e-4}}
    assert AlgorithmConfig.model_validate(with_pretrained_defaults(run)["algorithm"]).micro_batch == 8
    assert with_pretrained_defaults({**run, "algorithm": {"micro_batch": 64}})["algorithm"] == {"micro_batch": 64}
    assert with_pretrained_defaults({"policy": {"width": 64}}) == {"policy": {"width": 64}}


def test_as_many_minibatches_as_episodes() -> None:
    here, models, episodes = chatted(3)
    metrics = trainer(here, models, minibatches=3).update(episodes)
    assert metrics["critic/grad"] > 0
    assert trainer(here, models).update(episodes[:1])["critic/grad"] > 0


def test_side_by_side_is_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> list[Tensor]:
        here, models, episodes = chatted(models=3)
        learner = trainer(here, models, epochs=2, minibatches=2)
        learner.update(episodes)
        assert learner.critic is not None
        return [weights(module) for module in (*models.values(), learner.critic.network)]

    at_once = run()
    monkeypatch.setattr("trainers.algorithms.mappo.side_by_side", lambda steps: [step() for step in steps])
    assert all(torch.equal(a, b) for a, b in zip(at_once, run(), strict=True))


def test_a_critic_learns_what_an_episode_is_worth() -> None:
    """The receiver always says the same, so how it ends stands in the hidden state and nowhere else."""
    here = world("lewis", arena={"n": 2, "k": 2})
    models = policies(here)
    seats = {"sender_0": script("m0"), "receiver_0": script("s0")}
    episodes = collect(here, [Plan(f"e{i}", seats, 1) for i in range(32)])
    assert 8 < sum(episode.score for episode in episodes) < 24
    learner = trainer(here, models, critic_lr=1e-2, lam=1.0)
    metrics = [learner.update(episodes) for _ in range(60)]
    assert metrics[0]["critic/explained_variance"] < 0.2
    assert metrics[-1]["critic/explained_variance"] > 0.8
    assert metrics[-1]["critic/loss"] < 0.5 * metrics[0]["critic/loss"]


def poison_reward(made: Any, episodes: list[Episode]) -> None:
    episodes[1] = replace(episodes[1], rewards=tuple((float("nan"),) * 3 for _ in episodes[1].rewards))


def poison_critic(made: Any, episodes: list[Episode]) -> None:
    with torch.no_grad():
        made.critic.network.get_parameter("head.weight")[1, 3] = float("nan")


def poison_policy(made: Any, episodes: list[Episode]) -> None:
    with torch.no_grad():
        made.policies["p0"].model.get_input_embeddings().weight[7] = float("inf")


@pytest.mark.parametrize(
    ("poison", "named"),
    [
        (poison_reward, r"the rewards of update 1 are not finite in episode \S+1$"),
        (poison_critic, "the critic's values in update 1 are not finite in episode"),
        (poison_policy, "the loss of p0 is nan in episode"),
    ],
)
def test_nan_stops_the_run_and_the_error_names_its_source(
    poison: Callable[[Any, list[Episode]], None], named: str
) -> None:
    here, models, episodes = chatted()
    learner = trainer(here, models)
    poison(learner, episodes)
    before = weights(models["p0"])
    with pytest.raises(FloatingPointError, match=named):
        learner.update(episodes)
    assert torch.equal(weights(models["p0"]).nan_to_num(), before.nan_to_num())
