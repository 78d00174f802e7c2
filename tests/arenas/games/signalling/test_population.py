"""A population: who plays with whom, that only the partner hears, and that nobody learns who spoke."""

from __future__ import annotations

from collections import Counter

import networkx as nx
import pytest

import arenas
from arenas import ArenaError
from arenas.games.signalling.lewis import Lewis
from arenas.games.signalling.population import PARTNER, Population, edges
from arenas.games.signalling.reconstruction import Reconstruction
from arenas.solvers.play import sample
from marl.policy.scripted import Scripted
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.rollout.replay import replay
from marl.scenario.config import Scenario
from marl.scenario.world import World
from protocols.envelope import Kind

NUMBER = Scripted(lambda heard, spec: "m" + heard[-1].body[-1] if spec.kind == "say" else "s" + heard[-2].body[-1])


def test_who_plays_with_whom() -> None:
    assert len(Population(agents=4).pairs) == 12
    assert Population(agents=4, graph="chain").pairs == [(0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2)]
    assert {0 in pair for pair in Population(agents=5, graph="star").pairs} == {True}
    assert Population(agents=3, graph=[["agent_2", "agent_0"], ["agent_1", "agent_0"]]).pairs == [(1, 0), (2, 0)]


def test_any_graph_of_networkx_is_a_population() -> None:
    parts = nx.disjoint_union(nx.complete_graph(3), nx.cycle_graph(4))
    made = Population(agents=7, graph=edges(parts))
    assert made.pairs == sorted((a, b) for pair in parts.edges for a, b in (pair, pair[::-1]))
    assert edges(nx.DiGraph([("x", "y"), ("y", "y")])) == [["agent_0", "agent_1"]]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"agents": 1}, "agents >= 2"),
        ({"game": "population"}, "a game for two"),
        ({"game": "naming"}, "plays games for two with one public channel; naming is not one"),
        ({"game": "nobody_knows"}, "no arena 'nobody_knows'"),
        ({"graph": "torus"}, "graph is complete, ring, chain, star or a list of edges, not 'torus'"),
        ({"agents": 3, "graph": [["agent_0", "agent_1"]]}, "every one of agent_0 to agent_2 on some edge"),
        ({"agents": 2, "graph": [["agent_0", "agent_0"], ["agent_0", "agent_1"]]}, "none from an agent to itself"),
        ({"agents": 2, "graph": [["agent_0", "agent_9"]]}, "a population's graph is a list of edges"),
        ({"colour": "red"}, "it takes"),
    ],
)
def test_what_is_no_population_is_refused(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ArenaError, match=complaint):
        arenas.make("population", **options)


def test_each_pair_and_deal_is_a_case_of_its_own() -> None:
    made = Population(agents=3, graph="chain", game=Reconstruction(values=4, held_out=0.25))
    assert made.cases == 4 * 16
    met: Counter[tuple[str, str]] = Counter()
    for case in made.splits()["held_out"]:
        made.begin(case=case)
        speaker, listener, _, *truth = made.hidden().split()
        met[speaker, listener] += 1
        assert sum(int(word[1:]) for word in truth) % 4 == 0, "the first diagonal is held out"
    assert set(met.values()) == {4}
    assert len(met) == 4


def test_all_are_paid_what_two_earn_and_a_common_code_reaches_the_optimum() -> None:
    made = Population(agents=5, graph="ring", game=Lewis(n=3, k=3))
    assert made.anchors() == arenas.make("lewis", n=3, k=3).anchors()
    scores = sample(made, made.scripts()["full"], 40)
    assert scores.tolist() == [1.0] * 40
    assert sample(made, made.scripts()["silent"], 300).mean() == pytest.approx(1 / 3, abs=0.1)


def test_over_the_bus_only_the_partner_hears_and_not_from_whom() -> None:
    scenario = {"arena": {"name": "population", "agents": 4}, "channel": [{"type": "loss", "p": 0.2}]}
    world = World(Scenario.model_validate(scenario))
    seats = dict.fromkeys(world.agents, NUMBER)
    for case in (0, 17, 40):
        (episode,) = collect(world, [Plan(f"e{case}", seats, seed=3, deal={"case": case})])
        (entry,) = [entry for entry in episode.log.entries if entry.envelope.kind is Kind.SAY]
        speaker, listener = episode.log.entries[0].envelope.body.split()[:2]
        assert entry.envelope.sender == speaker
        assert [(heard.to, heard.sender) for heard in entry.heard] == [(listener, PARTNER)]
        said = [envelope for envelope in episode.log.view(listener) if envelope.kind is Kind.SAY]
        assert all(envelope.sender == PARTNER for envelope in said)
        assert len(said) == (entry.heard[0].body is not None)
        (again,) = collect(world, [replay(episode.log)])
        assert again.log.to_bytes() == episode.log.to_bytes()


def test_a_perfect_channel_hides_the_speaker_too() -> None:
    world = World(Scenario.model_validate({"arena": {"name": "population", "agents": 3}}))
    (episode,) = collect(world, [Plan("e", dict.fromkeys(world.agents, NUMBER), seed=1, deal={"case": 6})])
    listener = episode.log.entries[0].envelope.body.split()[1]
    assert [e.sender for e in episode.log.view(listener) if e.kind is Kind.SAY] == [PARTNER]
    assert episode.score == 1.0
