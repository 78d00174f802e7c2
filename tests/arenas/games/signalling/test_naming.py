"""The naming game: who meets, what each learns of it, and that copying others makes a convention."""

from __future__ import annotations

import pytest

from arenas.games.signalling.naming import Naming, pairs
from arenas.scripted import Memory
from arenas.solvers.play import play
from arenas.spec import Words


def test_who_knows_whom() -> None:
    assert len(pairs("complete", 6)) == 15
    assert pairs("ring", 4) == [(0, 1), (0, 3), (1, 2), (2, 3)]
    assert pairs("chain", 4) == [(0, 1), (1, 2), (2, 3)]


def test_only_neighbours_meet_each_about_as_often() -> None:
    arena = Naming(agents=5, rounds=5000, graph="ring")
    arena.begin(1)
    assert set(arena.met) == set(pairs("ring", 5))
    assert all(abs(arena.met.count(pair) - 1000) < 4 * (5000 * 0.2 * 0.8) ** 0.5 for pair in arena.met)


def test_a_meeting_worked_out_by_hand() -> None:
    arena = Naming(agents=2, names=2, rounds=2, miss=-0.5)
    arena.begin(0)
    assert arena.view("agent_0") == arena.view("agent_1") == "pick"
    outcome = arena.advance({"agent_0": ("amber",), "agent_1": ("birch",)})
    assert outcome.rewards == {"agent_0": -0.5, "agent_1": -0.5}
    assert arena.view("agent_0") == "you amber they birch"
    assert arena.view("agent_1") == "you birch they amber"
    outcome = arena.advance({"agent_0": ("birch",), "agent_1": ("birch",)})
    assert outcome.rewards == {"agent_0": 1.0, "agent_1": 1.0}
    assert outcome.done


@pytest.mark.parametrize("graph", ["complete", "ring"])
def test_a_population_that_copies_settles_on_one_name(graph: str) -> None:
    """Each begins with a name of its own and keeps the first in the alphabet of the two it saw last."""

    def copy(memory: Memory) -> Words:
        last = memory.view[1:4:2]
        own = int(memory.agent.removeprefix("agent_"))
        return memory.spec.words(own) if not last else (min(last),)

    arena = Naming(agents=8, names=8, rounds=400, graph=graph)
    returns = play(arena, dict.fromkeys(arena.possible_agents, copy), seed=3)
    assert sum(returns.values()) > 0.8 * 2 * arena.rounds
    assert {name for pair in arena.news.values() for name in pair} == {"amber"}
