"""Credit by forks and by counterfactual readings of the critic, against values that are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from marl.credit.arrays import episode_arrays
from marl.episode import Episode
from marl.policy.scripted import Scripted
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from tests.marl.worlds import lm_for, played, seated, world
from tests.trainers.algorithms.test_algorithms import chatted, noting
from tests.trainers.games import trainer
from trainers.credit import counterfactual, forks
from trainers.trainer import Play


def play(here: Any) -> Play:
    def played_(plans: Sequence[Plan]) -> list[Episode]:
        return collect(here, plans)

    return played_


def test_futures_of_a_decision_do_not_depend_on_the_reply_it_was_given() -> None:
    """Their mean is the true value before the decision, as the sender and the receiver here draw at random."""
    here = world("lewis", arena={"n": 2, "k": 2})
    models = [lm_for(here, seed=3), lm_for(here, seed=4)]
    seats = seated(here, *models)
    episodes = played(here, seats, 3)
    arrays = episode_arrays(episodes, 1.0)
    plans = forks.future_plans(episodes, seats, 400)
    values = forks.mean_returns(arrays, plans, play(here)(plans.plans), (1.0, "round"))
    for e in range(3):
        assert abs(values[e, 0, 0] - values[e, 0, 1]) < 1e-12, "both are paid the same"
        assert 0.3 < values[e, 0, 0] < 0.7
        assert values[e, 2].tolist() == [0, 0]


def test_difference_rewards_compare_with_the_default_reply() -> None:
    here = world("lewis", arena={"n": 2, "k": 2})
    sender = Scripted(lambda heard, spec: "m" + heard[-1].body[-1])
    receiver = Scripted(lambda heard, spec: "s" + heard[0].body[-1])
    seats = {"sender_0": sender, "receiver_0": receiver}
    episodes = collect(here, [Plan(f"e{case}", seats, 1, {"case": case}) for case in range(2)])
    plans = forks.default_plans(episodes, seats)
    values = forks.mean_returns(episode_arrays(episodes, 1.0), plans, play(here)(plans.plans), (1.0, "round"))
    # With m0, or s0, in place of what was done, state 0 is still found and state 1 is not.
    assert values[:, :2, 0].tolist() == [[1.0, 1.0], [0.0, 0.0]]


def test_a_joint_value_forgets_what_the_agent_itself_did() -> None:
    """The critic reads the same stage for both, so the baseline cannot depend on the reply it is for."""
    here, models, episodes = chatted(models=2, count=40)
    learner = noting(here, models, credit="counterfactual")
    assert learner.critic is not None
    cut = [counterfactual.joint(episode, 1, "hare") for episode in episodes]
    alike = [e for e in episodes if e.turns[0].sample.text == episodes[0].turns[0].sample.text]
    assert {e.turns[1].sample.text for e in alike} == {"stag", "hare"}
    with torch.no_grad():
        reading, output = counterfactual.read(learner.critic, cut)
    first = [output[(reading.episode == episodes.index(e)) & (reading.agent == 1)].item() for e in alike]
    assert max(first) - min(first) < 1e-6
    with torch.no_grad():
        plain = counterfactual.read(learner.critic, [counterfactual.joint(e, 1) for e in episodes])[1]
    assert float((plain - output).abs().max()) > 1e-3


@pytest.mark.parametrize("name", ["repeated matrix", "chat, all effects"])
def test_counterfactual_advantages_are_those_of_joint_moves_read_one_by_one(name: str) -> None:
    """Read in parts of two, each joint move once; where listeners heard otherwise, saying the same is another move."""
    here, models, episodes = chatted(name, models=1, count=5)
    learner = noting(here, models, credit="counterfactual")
    assert learner.critic is not None
    seats = learner.seats
    others = counterfactual.alternatives(episodes, models, seats, 3, 1)
    count = max(len(episode.turns) for episode in episodes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counterfactual, "AT_ONCE", 2)
        advantages = counterfactual.advantages(learner.critic, episodes, others, count)
    with torch.no_grad():
        for e, episode in enumerate(episodes):
            for k, turn in enumerate(episode.turns):
                q = []
                for said in (None, *others[e][k]):
                    reading, output = counterfactual.read(learner.critic, [counterfactual.joint(episode, k, said)])
                    q.append(output[reading.agent == episode.agents.index(turn.agent)].item())
                assert advantages[e, k] == pytest.approx(q[0] - sum(q[1:]) / 3, abs=1e-6)
            assert np.isnan(advantages[e, len(episode.turns) :]).all()


def test_the_others_replies_are_drawn_from_the_policy() -> None:
    here, models, episodes = chatted(models=2, count=3)
    drawn = counterfactual.alternatives(episodes, models, trainer(here, models).seats, 200, 1)
    again = counterfactual.alternatives(episodes, models, trainer(here, models).seats, 200, 1)
    assert drawn == again
    for e, episode in enumerate(episodes):
        for k, turn in enumerate(episode.turns):
            assert len(drawn[e][k]) == 200
            share = drawn[e][k].count(turn.sample.text) / 200
            p = float(np.exp(turn.sample.behavior_logprobs[0]))
            assert abs(share - p) < 4 * (p * (1 - p) / 200) ** 0.5 + 1e-9
