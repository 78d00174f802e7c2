"""Shaping terms against their definitions, worked out from contexts written down by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from marl.context.transcript import BOS, PROMPT
from marl.credit.arrays import episode_arrays
from marl.episode import Episode
from marl.models.language_model import LanguageModel
from marl.scenario.world import World
from tests.marl.worlds import WORLDS, lm_for, played, seated, world
from tests.trainers.games import trainer
from trainers.algorithm import ShapingConfig
from trainers.algorithms.mappo import PolicyGradientTrainer
from trainers.credit.counterfactual import alternatives
from trainers.credit.shaping import messages, with_message


def lewis(
    count: int = 6, lr: float = 5e-4, **shaping: Any
) -> tuple[PolicyGradientTrainer, dict[str, LanguageModel], list[Episode]]:
    here = world("lewis", arena={"n": 3, "k": 3})
    models = {"p0": lm_for(here, seed=3, init=0.4), "p1": lm_for(here, seed=4, init=0.4)}
    episodes = played(here, seated(here, *models.values()), count)
    return trainer(here, models, shaping=shaping, lr=lr, critic_lr=lr), models, episodes


def reply_probability(lm: LanguageModel, context: str, episode: Episode, k: int) -> float:
    turn = episode.turns[k]
    before = lm.encode(context)
    ids = torch.tensor([[*before, *turn.sample.tokens]])
    drawn = torch.zeros_like(ids, dtype=torch.bool)
    drawn[0, len(before) :] = True
    with torch.no_grad():
        rows = torch.tensor(lm.grammar(turn.spec)[: len(turn.sample.tokens)])
        return float(lm.score(ids, drawn, rows).logp.sum().exp())


def test_influence_is_the_information_of_a_message_about_the_next_reply() -> None:
    learner, models, episodes = lewis(influence=2.0, others=5)
    said = [message for e, episode in enumerate(episodes) for message in messages(e, episode)]
    assert [(m.episode, m.turn, dict(m.answers)) for m in said] == [(e, 0, {"receiver_0": 1}) for e in range(6)]
    influence = learner.shaping.influence(episodes, said, 9)
    others = alternatives(episodes, models, learner.seats, 5, 9)
    for e, episode in enumerate(episodes):
        candidates = [episode.turns[0].sample.text, *others[e][0]]
        p = [reply_probability(models["p1"], f"{BOS} sender_0 : {m} which {PROMPT}", episode, 1) for m in candidates]
        assert influence[e] == pytest.approx(np.log(p[0] / np.mean(p)), abs=1e-5)
    assert np.abs(influence).max() > 1e-3
    assert influence.max() <= np.log(6)


def test_who_spoke_is_paid_and_nobody_else() -> None:
    learner, _, episodes = lewis(influence=2.0)
    arrays = episode_arrays(episodes, 1.0)
    rewards, metrics = learner.shaping.shaped(arrays, episodes, 0)
    more = rewards - arrays.rewards
    assert (more[:, 1] == 0).all()
    assert (more[:, :, 1] == 0).all()
    assert metrics == {"shaping/influence": pytest.approx(more[:, 0, 0].mean())}
    assert np.abs(more[:, 0, 0]).max() > 1e-3


def test_speaking_pays_for_what_listeners_came_to_believe() -> None:
    learner, models, episodes = lewis(speaking=3.0, listening=1.0)
    head = learner.shaping.heads["p1"]
    torch.nn.init.normal_(head.weight, std=0.5, generator=torch.Generator().manual_seed(1))
    arrays = episode_arrays(episodes, 1.0)
    rewards, _ = learner.shaping.shaped(arrays, episodes, 0)
    lm = models["p1"]
    for e, episode in enumerate(episodes):
        words = lm.encode(episode.log.entries[0].envelope.body)
        logs = []
        for context in (f"{BOS} {PROMPT}", f"{BOS} sender_0 : {episode.turns[0].sample.text} {PROMPT}"):
            with torch.no_grad():
                state = lm.states(torch.tensor([lm.encode(context)]))[0, -1]
                logs.append(float(head(state).log_softmax(-1)[list(words)].mean()))
        assert rewards[e, 0, 0] - arrays.rewards[e, 0, 0] == pytest.approx(3 * (logs[1] - logs[0]), abs=1e-4)


def test_listening_teaches_an_agent_to_tell_what_it_knows() -> None:
    """The sender sees the state; its trunk and head come to predict the words of it."""
    learner, _, episodes = lewis(24, 5e-3, listening=1.0)
    losses = [learner.update(episodes)["policy/p0/listening"] for _ in range(100)]
    assert losses[0] == pytest.approx(np.log(learner.shaping.heads["p0"].out_features), abs=1e-3)
    assert losses[-1] < np.log(2) + 0.3, "two words, equally likely, are the best there is"


def test_a_message_that_nobody_answers_moves_nobody() -> None:
    here: World = world(**WORLDS["chat, all effects"])
    episodes = played(here, seated(here, lm_for(here)), 4)
    for e, episode in enumerate(episodes):
        for message in messages(e, episode):
            assert episode.turns[message.turn].spec.kind == "say"
            for listener, k in message.answers.items():
                assert k > message.turn
                assert episode.turns[k].agent == listener
                heard = episode.log.entries[episode.turns[message.turn].seq].heard
                assert any(reception.to == listener and reception.body is not None for reception in heard)


def test_what_was_lost_stays_lost_when_a_message_is_another_one() -> None:
    here = world("lewis", channel=[{"type": "loss", "p": 0.5}])
    episodes = played(here, seated(here, lm_for(here)), 12)
    bodies = {
        h.body for episode in episodes for h in with_message(episode, 0, "m1").log.entries[episode.turns[0].seq].heard
    }
    assert bodies == {None, "m1"}


def test_beliefs_that_nothing_teaches_are_refused() -> None:
    with pytest.raises(ValidationError, match="set listening above 0"):
        ShapingConfig(speaking=1.0)
