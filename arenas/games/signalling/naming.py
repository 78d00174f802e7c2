"""Naming game on a graph: convergence of a population on one name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

import networkx as nx
import numpy as np
from typing_extensions import override

from arenas.core import Anchors, Arena, Outcome
from arenas.errors import ArenaError
from arenas.scripted import Script, first
from arenas.spec import Words, choose, symbols

NAMES: Final = ("amber", "birch", "cedar", "dune", "ember", "fern", "grove", "hazel", "iris", "jade")
GRAPHS: Final = {"complete": nx.complete_graph, "ring": nx.cycle_graph, "chain": nx.path_graph}


def pairs(graph: str, agents: int) -> list[tuple[int, int]]:
    """Return the pairs of neighbours, in seat order."""
    return sorted((min(edge), max(edge)) for edge in GRAPHS[graph](agents).edges)


class Naming(Arena):
    """Naming game of `agents` on a graph: complete, ring or chain; any pair of neighbours is equally likely.

    There is no channel: names are moves, and an agent learns only the picks of those it meets.
    """

    rules = """
    Naming game: a population without a leader has to settle on one name.

    In each round two agents who know each other are drawn. Both pick a name at once and get 1 if it is the same, else
    `miss`. Each is then shown both names when it is next asked, and never whom it met. Who knows whom is a graph. (Steels
    1995; Baronchelli et al. 2006, with a fixed set of names and symmetric roles as in Ashery, Aiello & Baronchelli 2025,
    where a hit is worth 100 and a miss -50.)

    `agents` on a graph (complete, ring or chain), so many names, so many rounds. Any pair is as likely as any other.

    Nothing is said: names are moves, and what is known of others is what one met.
    """
    metadata = Arena.metadata | {"name": "naming_v0"}
    tags = ("cooperative", "memory")
    ranges: ClassVar[Mapping[str, tuple[int, int]]] = {
        "agents": (2, 24),
        "names": (2, len(NAMES)),
        "rounds": (1, 100),
    }

    def __init__(
        self, agents: int = 4, names: int = 3, rounds: int = 8, graph: str = "complete", miss: float = 0.0
    ) -> None:
        if agents < 2 or not 2 <= names <= len(NAMES) or rounds < 1 or graph not in GRAPHS or not -np.inf < miss <= 1:
            raise ArenaError(
                f"naming needs agents >= 2, names from 2 to {len(NAMES)}, rounds >= 1, a graph ({', '.join(GRAPHS)}) "
                f"and miss <= 1, not {agents=}, {names=}, {rounds=}, {graph=} and {miss=}"
            )
        self.names, self.rounds, self.miss = names, rounds, miss
        self.pairs = pairs(graph, agents)
        pick = choose(NAMES[:names])
        super().__init__(dict.fromkeys(symbols("agent_", agents), pick), ("pick", "you", "they"), 8 + 3 * agents)

    @override
    def deal(self, rng: np.random.Generator, split: str) -> None:
        self.met = tuple(self.pairs[i] for i in rng.integers(len(self.pairs), size=self.rounds).tolist())
        self.round = 0
        self.news: dict[str, Words] = {}

    @override
    def acting(self) -> tuple[str, ...]:
        a, b = self.met[min(self.round, self.rounds - 1)]
        return self.possible_agents[a], self.possible_agents[b]

    @override
    def view(self, agent: str) -> str:
        # Both picks when the agent last met somebody.
        if agent not in self.news:
            return "pick"
        mine, theirs = self.news[agent]
        return f"you {mine} they {theirs}"

    @override
    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        (a, (mine,)), (b, (yours,)) = replies.items()
        self.news = self.news | {a: (mine, yours), b: (yours, mine)}
        self.round += 1
        reward = 1.0 if mine == yours else self.miss
        return Outcome({a: reward, b: reward}, done=self.round == self.rounds)

    @override
    def hidden(self) -> str:
        # The pair that meets now, and each agent's last pick and the one it met.
        news = [(agent, *self.news[agent]) for agent in self.possible_agents if agent in self.news]
        return " ".join([*self.acting(), *(word for words in news for word in words)])

    @override
    def anchors(self) -> Anchors:
        # Two of the agents are paid in each round. The name to pick can be settled in training: silent = full.
        meetings = 2 * self.rounds / len(self.possible_agents)
        chance = 1 / self.names
        return Anchors(meetings * (chance + (1 - chance) * self.miss), meetings, meetings)

    @override
    def scripts(self) -> Mapping[str, Script]:
        # A convention: all pick the first name.
        return {"silent": first, "full": first}
