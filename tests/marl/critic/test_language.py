"""The critic on a frozen pretrained model: what its values depend on, and what a run trains and saves of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from marl.critic.critic import Critic
from marl.critic.language import FrozenTrunk, LanguageNetwork, language_critic
from marl.critic.log_reader import Scope
from marl.critic.reading import table
from marl.episode import Episode
from marl.errors import UserError
from marl.scenario.world import World
from protocols.envelope import Kind
from tests.marl import chats
from tests.marl.critic.test_critic import altered
from tests.marl.worlds import WORLDS, played, seated, world
from trainers.run import Run
from trainers.run_config import RunConfig


def critic_for(here: World, scope: Scope = "central", context: int = 2048) -> Critic:
    critic = language_critic(here.agents, chats.base(), scope=scope, width=16, context=context, seed=4)
    torch.nn.init.normal_(critic.network.get_parameter("head.weight"), generator=torch.Generator().manual_seed(1))
    return critic


def values(critic: Critic, episodes: list[Episode]) -> NDArray[np.float64]:
    """[episodes, decisions + 1, agents]"""
    with torch.no_grad():
        reading, predicted = critic.predict(episodes)
    slots = max(len(episode.turns) for episode in episodes) + 1
    return table(reading, predicted, len(episodes), slots, len(episodes[0].agents))


@pytest.fixture(scope="module")
def chat() -> tuple[World, list[Episode]]:
    here = world(**WORLDS["chat, all effects"])
    return here, played(here, seated(here), 12)


def test_a_value_depends_on_what_came_before_and_nothing_that_came_later(chat: tuple[World, list[Episode]]) -> None:
    here, (episode, *_) = chat
    critic = critic_for(here)
    (before,) = values(critic, [episode])
    for slot, turn in enumerate(episode.turns):
        (after,) = values(critic, [altered(here, episode, lambda e, seq=turn.seq: e.seq >= seq)])
        np.testing.assert_allclose(after[: slot + 1], before[: slot + 1], atol=1e-5)
    (after,) = values(critic, [altered(here, episode, lambda e: e.kind is Kind.WORLD)])
    assert np.abs(after - before).max() > 1e-4, "it reads the hidden state"
    joint = critic_for(here, "joint")
    np.testing.assert_allclose(
        values(joint, [altered(here, episode, lambda e: e.kind is Kind.WORLD)]), values(joint, [episode]), atol=1e-5
    )


def test_its_own_view_is_all_that_an_agent_is_valued_by(chat: tuple[World, list[Episode]]) -> None:
    here, (episode, *_) = chat
    critic = critic_for(here, "own")
    for i, agent in enumerate(here.agents):
        changed = altered(here, episode, lambda e, agent=agent: e.kind is Kind.VIEW and e.to != agent)
        after, before = values(critic, [changed]), values(critic, [episode])
        np.testing.assert_allclose(after[0, :, i], before[0, :, i], atol=1e-5)


def test_episodes_do_not_mix_in_one_pass_or_several(chat: tuple[World, list[Episode]]) -> None:
    here, episodes = chat
    critic = critic_for(here)
    together = values(critic, episodes)
    for episode, row in zip(episodes, together, strict=True):
        (alone,) = values(critic, [episode])
        np.testing.assert_allclose(row[: len(alone)], alone, atol=1e-4)


def test_what_is_said_is_neither_a_mark_nor_the_end_of_a_turn() -> None:
    critic = critic_for(world(**WORLDS["lewis"]))
    assert critic.reader.encode("yes <move> <|im_end|> no", said=True) == critic.reader.encode("yes no", said=True)
    assert critic.reader.encode("<move> a_0") != critic.reader.encode("a_0")


def test_a_log_that_outgrows_the_context_keeps_its_end(chat: tuple[World, list[Episode]]) -> None:
    here, (episode, *_) = chat
    reading = critic_for(here, context=40).read([episode])
    assert reading.ids.shape[1] == 40
    assert int(reading.column.max()) < 40


def settings(tmp_path: Path, **algorithm: Any) -> dict[str, Any]:
    return {
        "scenario": {"arena": {"name": "lewis", "n": 2, "k": 2}},
        "out": str(tmp_path / "run"),
        "updates": 2,
        "episodes": 8,
        "policy": {"hf": str(chats.folder(tmp_path / "model")), "dtype": "float32", "lora": {"rank": 2}},
        "algorithm": {"critic_trunk": "policy", "critic_width": 8} | algorithm,
    }


def test_a_run_trains_the_head_alone(tmp_path: Path) -> None:
    run = Run(RunConfig.model_validate(settings(tmp_path)))
    critic = run.trainer.critic
    assert critic is not None
    assert isinstance(critic.network, LanguageNetwork)
    assert isinstance(critic.network.trunk, FrozenTrunk)
    base = critic.network.trunk.base
    before = {name: weight.clone() for name, weight in base.model.state_dict().items() if "lora" not in name}
    head = {name: weight.clone() for name, weight in critic.network.state_dict().items()}
    run.train()
    after = base.model.state_dict()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())
    assert critic.network.state_dict().keys() == head.keys()
    assert {name.partition(".")[0] for name in head} == {"inner", "head"}, (
        "a checkpoint holds no copy of the base model"
    )
    assert not any(torch.equal(weight, critic.network.state_dict()[name]) for name, weight in head.items())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"policy": {"width": 16}}, "set policy.hf and policy.lora"),
        ({"algorithm": {"critic_trunk": "policy", "critic": "graph"}}, 'set critic to "central", "joint" or "own"'),
        ({"algorithm": {"critic_trunk": "policy", "type": "magrpo"}}, 'set critic to "central", "joint" or "own"'),
    ],
)
def test_what_has_no_base_model_to_read_with_is_refused(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    with pytest.raises((UserError, ValueError), match=re.escape(reason)):
        Run(RunConfig.model_validate(settings(tmp_path) | change))
