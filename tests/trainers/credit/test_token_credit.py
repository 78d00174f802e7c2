"""One advantage a token: the baseline of a token has read the words of its reply before it, and biases nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from marl.context.traces import trace
from marl.credit.arrays import Credit, episode_arrays
from marl.credit.estimators import normalise
from marl.critic.reading import inside
from marl.episode import Episode
from marl.scenario.world import World
from tests.marl.worlds import played, seated, world
from tests.trainers.games import Noting, gradient, policies, trainer
from trainers.algorithm import AlgorithmConfig
from trainers.batch import collate
from trainers.credit import values

PHRASES: dict[str, Any] = {
    "name": "reconstruction",
    "arena": {"attributes": 1, "values": 2, "length": 2, "alphabet": 2, "held_out": 0.0},
}


def outcomes(here: World, models: dict[str, Any]) -> list[Episode]:
    """One episode of each message and answer to each object."""
    by_words: dict[tuple[str, ...], Episode] = {}
    for episode in played(here, seated(here, *models.values()), 600):
        by_words.setdefault(
            (episode.log.entries[0].envelope.body, *(turn.sample.text for turn in episode.turns)), episode
        )
    assert len(by_words) == 2 * 4 * 2
    return list(by_words.values())


@pytest.mark.parametrize("scope", ["central", "joint", "own"])
@pytest.mark.parametrize("credit", ["sequential", "team", "individual", "monte_carlo"])
def test_it_keeps_the_gradient(scope: str, credit: str) -> None:
    here = world(**PHRASES)
    models = policies(here, 2, init=0.15, seed=2)
    learner = trainer(here, models, Noting, critic=scope, credit=credit, lam=1.0, normalise=False, credit_per="token")
    assert isinstance(learner, Noting)
    total = {name: torch.zeros(()) for name in models}
    objective = torch.zeros(())
    for episode in outcomes(here, models):
        chances = []
        for agent, name in learner.seats.items():
            lm, seen = models[name], trace(episode, agent, models[name].open)
            ids = torch.tensor([seen.ids])
            at = torch.zeros_like(ids, dtype=torch.bool)
            rows: list[int] = []
            for start, stop, k in seen.spans:
                at[0, start:stop] = True
                rows += lm.grammar(episode.turns[k].spec)[: stop - start]
            chances.append(lm.score(ids, at, torch.tensor(rows)).logp.sum())
        joint = torch.stack(chances).sum().exp() / 2
        objective = objective + joint * episode.score
        learner.update([episode])
        for name, lm in models.items():
            batch = collate(lm, [episode], learner.seats_of(name), np.zeros((1, len(episode.turns))))
            total[name] = total[name] - float(joint.detach()) * batch.tokens * learner.noted[name][-1]
    for lm in models.values():
        gradient(lm)
    objective.backward()  # type: ignore[no-untyped-call]
    for name, lm in models.items():
        exact: Tensor = gradient(lm)
        assert float((total[name] - exact).norm() / exact.norm()) < 5e-5, name


def test_the_first_token_has_the_advantage_of_the_reply_and_later_ones_less_what_was_gained() -> None:
    here = world(**PHRASES)
    models = policies(here)
    episodes = played(here, seated(here, *models.values()), 5)
    learner = trainer(here, models, critic="central", credit_per="token", lam=0.7)
    assert learner.critic is not None
    arrays = episode_arrays(episodes, 1.0)
    plain = trainer(here, models, critic="central", lam=0.7)
    plain.critic = plain.assignment.critic = learner.critic
    by_reply = plain.assignment.assign(episodes, arrays, 1).credit.advantage
    by_token = learner.assignment.assign(episodes, arrays, 1).credit.advantage
    assert by_token.shape[:2] == by_reply.shape
    np.testing.assert_allclose(by_token[..., 0], by_reply)
    with torch.no_grad():
        forward = learner.critic.predict(episodes)
    table, _ = learner.assignment.values(episodes, arrays, 1)
    within = inside(*forward, *by_reply.shape)
    speaker = here.agents.index(episodes[0].turns[0].agent)
    np.testing.assert_allclose(by_token[:, 0, 1], by_reply[:, 0] - (within[:, 0, 1] - table[:, 0, speaker]), atol=1e-6)
    assert np.isnan(by_token[:, 1, 2:]).all(), "behind the end of the shorter reply"


def test_words_that_are_not_in_the_log_have_the_advantage_of_their_reply() -> None:
    here = world(**PHRASES)
    models = policies(here)
    episodes = played(here, seated(here, *models.values()), 2)
    learner = trainer(here, models, critic="central", credit_per="token")
    assert learner.critic is not None
    with torch.no_grad():
        reading, predicted = learner.critic.predict(episodes)
    keep = reading.part < 2
    cut = reading._replace(**{f: getattr(reading, f)[keep] for f in reading._fields[1:]})
    credit = Credit(np.array([[1.0, 2.0]] * 2), np.zeros((2, 2, 2)))
    by_token = values.by_token(
        (cut, predicted[keep]), credit, episode_arrays(episodes, 1.0), episodes, learner.assignment.scale
    )
    assert by_token[:, 0, 0].tolist() == [1.0, 1.0]


def test_normalising_is_over_tokens() -> None:
    advantage = np.array([[[1.0, 3.0], [5.0, np.nan]]])
    normalised = normalise(advantage, np.array([[0, 1]]), 2)
    assert normalised[0, 0].tolist() == [-1.0, 1.0]
    assert normalised[0, 1, 0] == 0.0
    assert np.isnan(normalised[0, 1, 1])


@pytest.mark.parametrize("settings", [{"critic": "none", "credit": "monte_carlo"}, {"critic": "graph"}], ids=str)
def test_it_needs_a_critic_that_reads_replies(settings: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="values within replies"):
        AlgorithmConfig.model_validate({"credit_per": "token", **settings})
