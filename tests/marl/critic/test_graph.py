"""What the graph critic's values depend on: the views of an agent and its neighbours, until a decision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from marl.critic.critic import Critic
from marl.critic.graph import GraphNetwork, graph_critic
from marl.critic.reading import table
from marl.episode import Episode
from marl.scenario.world import World
from protocols.envelope import Kind
from tests.marl.critic.test_critic import altered
from tests.marl.worlds import WORLDS, played, seated, world
from trainers.run import Run
from trainers.run_config import RunConfig


def critic_for(here: World, graph: nx.DiGraph[str]) -> Critic:
    critic = graph_critic(here.agents, here.vocabulary, graph, width=16, layers=1, heads=2, context=512, seed=4)
    torch.nn.init.normal_(critic.network.get_parameter("head.weight"), generator=torch.Generator().manual_seed(1))
    return critic


def values(critic: Critic, episode: Episode) -> NDArray[np.float64]:
    """[decisions + 1, agents]"""
    with torch.no_grad():
        reading, predicted = critic.predict([episode])
    rows = table(reading, predicted, 1, len(episode.turns) + 1, len(episode.agents))
    return rows.reshape(rows.shape[1:])


@pytest.fixture(scope="module")
def chat() -> tuple[World, Episode]:
    here = world(**WORLDS["chat, all effects"])
    return here, played(here, seated(here), 1)[0]


def test_a_value_depends_on_nothing_that_came_later(chat: tuple[World, Episode]) -> None:
    here, episode = chat
    critic = critic_for(here, nx.complete_graph(list(here.agents), nx.DiGraph()))
    before = values(critic, episode)
    for slot, turn in enumerate(episode.turns):
        after = values(critic, altered(here, episode, lambda e, seq=turn.seq: e.seq >= seq))
        np.testing.assert_allclose(after[: slot + 1], before[: slot + 1], atol=1e-6)


def test_a_value_knows_what_neighbours_know_and_nothing_of_others(chat: tuple[World, Episode]) -> None:
    here, episode = chat
    first, second, third = here.agents
    critic = critic_for(here, nx.DiGraph([(first, second)]))
    before = values(critic, episode)
    after = values(critic, altered(here, episode, lambda e: e.kind is Kind.VIEW and e.to == second))
    moved = np.abs(after - before).max(0)
    assert moved[here.agents.index(first)] > 1e-4, "its neighbour was shown something else"
    assert moved[here.agents.index(second)] > 1e-4
    assert moved[here.agents.index(third)] < 1e-6, "no edge leads there"


def test_without_edges_it_is_the_critic_of_own_views(chat: tuple[World, Episode]) -> None:
    here, episode = chat
    alone = critic_for(here, nx.DiGraph())
    for agent in here.agents:
        before = values(alone, episode)[:, here.agents.index(agent)]
        changed = altered(here, episode, lambda e, agent=agent: e.kind is Kind.VIEW and e.to != agent)
        np.testing.assert_allclose(values(alone, changed)[:, here.agents.index(agent)], before, atol=1e-6)


def test_episodes_do_not_mix(chat: tuple[World, Episode]) -> None:
    here, episode = chat
    critic = critic_for(here, nx.complete_graph(list(here.agents), nx.DiGraph()))
    other = altered(here, replace(episode), lambda e: e.kind is Kind.VIEW)
    with torch.no_grad():
        reading, predicted = critic.predict([other, episode])
    both = table(reading, predicted, 2, len(episode.turns) + 1, len(episode.agents))
    np.testing.assert_allclose(both[1], values(critic, episode), atol=1e-5)


def test_a_run_trains_with_it(tmp_path: Path) -> None:
    settings = {
        "scenario": {"arena": {"name": "relay", "relays": 1}, "topology": {"type": "chain"}},
        "out": str(tmp_path / "run"),
        "updates": 2,
        "episodes": 8,
        "algorithm": {"critic": "graph"},
    }
    run = Run(RunConfig.model_validate(settings))
    assert run.trainer.critic is not None
    assert isinstance(run.trainer.critic.network, GraphNetwork)
    assert run.train()["updates"] == 2


def test_a_checkpoint_keeps_its_names(chat: tuple[World, Episode]) -> None:
    here, _ = chat
    names = [name for name in critic_for(here, nx.DiGraph()).network.state_dict() if not name.startswith("trunk.")]
    assert names == ["head.weight", "head.bias", "ask.weight", "key.weight", "value.weight"]
