"""Population: a two-player game between two agents drawn from a graph."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar, Final

import networkx as nx
import numpy as np
from typing_extensions import override

from arenas.core import Anchors, Arena, Outcome
from arenas.errors import ArenaError
from arenas.games.signalling.lewis import Lewis
from arenas.scripted import ARENA, Memory, Script
from arenas.spec import ReplySpec, Words, symbols

PARTNER: Final = "partner"
"""Sender that listeners see on every message."""
GRAPHS: Final[Mapping[str, Callable[[int], nx.Graph[int]]]] = {
    "complete": lambda agents: nx.complete_graph(agents),
    "ring": lambda agents: nx.cycle_graph(agents),
    "chain": lambda agents: nx.path_graph(agents),
    "star": lambda agents: nx.star_graph(agents - 1),  # the first agent is the centre
}
Pair = tuple[int, int]


def edges(graph: nx.Graph[Any]) -> list[list[str]]:
    """Convert any networkx graph to the `graph` parameter: nodes become agents in their order, links lead both ways."""
    number = {node: i for i, node in enumerate(graph.nodes)}
    pairs = graph.edges if graph.is_directed() else [p for a, b in graph.edges for p in ((a, b), (b, a))]
    return [[f"agent_{number[a]}", f"agent_{number[b]}"] for a, b in pairs if a != b]


def _pairs(graph: str | Sequence[Sequence[str]], agents: int) -> list[Pair]:
    """Return the pairs of agents by seat, in seat order; raises ArenaError."""
    names = symbols("agent_", agents)
    if isinstance(graph, str):
        if graph not in GRAPHS:
            raise ArenaError(f"graph is {', '.join(GRAPHS)} or a list of edges, not {graph!r}")
        graph = edges(GRAPHS[graph](agents))
    pairs = {(names.index(e[0]), names.index(e[1])) for e in graph if len(e) == 2 and {*e} <= {*names}}
    if len(pairs) != len(graph) or any(a == b for a, b in pairs) or len({i for pair in pairs for i in pair}) != agents:
        raise ArenaError(
            "a population's graph is a list of edges such as ['agent_0', 'agent_1'], each given once, none from an "
            f"agent to itself, with every one of agent_0 to agent_{agents - 1} on some edge; not "
            f"{[list(edge) for edge in graph]}"
        )
    return sorted(pairs)


class Population(Arena):
    """Population of agents on a graph: each episode, a pair of neighbours plays a game for two.

    Args:
        agents: number of agents.
        graph: complete, ring, chain, star or a list of edges.
        game: the game of a pair.
    """

    rules = """
    Population: many agents, of whom two who know each other are drawn to play a game for two with one another.

    Who knows whom is a graph: an edge from one agent to another lets them play, the first on the game's first seat. Nobody
    is told whom it plays with, so that agents who share partners do best to speak alike; and everyone plays every seat that
    its edges lead to, so that it hears the language it speaks. All are paid what the two are paid on average, so a score
    is one of the game. (Graesser, Cho & Kiela 2019; Michel et al. 2023, on populations divided into parts.)

    `agents` on a `graph` (complete, ring, chain, star or a list of edges) play a `game` for two with its settings.

    Every other parameter is the game's own.
    """
    metadata = Arena.metadata | {"name": "population_v0"}
    tags = ("cooperative", "communication")
    heard_as = PARTNER
    ranges: ClassVar[Mapping[str, tuple[int, int]]] = {"agents": (3, 12)}

    def __init__(
        self,
        agents: int = 4,
        graph: str | Sequence[Sequence[str]] = "complete",
        game: Arena | None = None,
    ) -> None:
        self.game = game or Lewis()
        self.game_seats = tuple(self.game.possible_agents)
        if agents < 2 or isinstance(game, Population):
            raise ArenaError(
                f"population needs agents >= 2 and a game for two, not {agents=} and game={self.game.name!r}"
            )
        if len(self.game_seats) != 2 or self.game.channels or self.game.open_text:
            raise ArenaError(f"population plays games for two with one public channel; {self.game.name} is not one")
        names = symbols("agent_", agents)
        self.pairs = _pairs(graph, agents)
        self.cases = len(self.pairs) * self.game.cases
        seats_taken = {(i, seat) for pair in self.pairs for seat, i in enumerate(pair)}
        specs_of_seats = [self.game.replies[seat] for seat in self.game_seats]
        specs = {
            name: tuple(
                dict.fromkeys(spec for seat in (0, 1) if (i, seat) in seats_taken for spec in specs_of_seats[seat])
            )
            for i, name in enumerate(names)
        }
        words = (*self.game.vocabulary, PARTNER)
        super().__init__(specs, words, self.game.view_words + 2)
        self._splits = {
            split: [pair * self.game.cases + case for pair in range(len(self.pairs)) for case in cases]
            for split, cases in self.game.splits().items()
        }

    @override
    def splits(self) -> Mapping[str, Sequence[int]]:
        # The game's splits, with every deal for every pair.
        return self._splits

    @override
    def deal(self, rng: np.random.Generator, split: str) -> None:
        if self.cases:
            super().deal(rng, split)
            return
        self._meet(int(rng.integers(len(self.pairs))))
        self.game.deal(rng, split)

    @override
    def lay(self, case: int) -> None:
        pair, deal = divmod(case, self.game.cases)
        self._meet(pair)
        self.game.lay(deal)

    def _meet(self, pair: int) -> None:
        self.game = self.game.copy()
        names = [self.possible_agents[i] for i in self.pairs[pair]]
        self.playing = dict(zip(names, self.game_seats, strict=True))
        self.on = dict(zip(self.game_seats, names, strict=True))

    @override
    def acting(self) -> tuple[str, ...]:
        return tuple(sorted((self.on[seat] for seat in self.game.acting()), key=self.possible_agents.index))

    @override
    def spec(self, agent: str) -> ReplySpec:
        return self.game.spec(self.playing[agent])

    @override
    def view(self, agent: str) -> str:
        return self.game.view(self.playing[agent])

    @override
    def audience(self, speaker: str) -> Collection[str]:
        return tuple(agent for agent in self.playing if agent != speaker)

    @override
    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        # All are paid the mean of the two.
        self.game = self.game.copy()
        by_seat = {self.playing[agent]: words for agent, words in replies.items()}
        outcome = self.game.resolve({seat: by_seat[seat] for seat in self.game_seats if seat in by_seat})
        mean = sum(outcome.rewards.values()) / 2
        rewards = dict.fromkeys(self.possible_agents, mean) if mean else {}
        return Outcome(rewards, outcome.done, outcome.truncated)

    @override
    def hidden(self) -> str:
        return " ".join([*self.playing, self.game.hidden()]).strip()

    @override
    def anchors(self) -> Anchors:
        # The game's own: with one shared language, every pair plays as two can.
        own = self.game.anchors()
        return Anchors(own.random, own.silent, own.full)

    @override
    def scripts(self) -> Mapping[str, Script]:
        # The game's own, each played by every agent on its current seat.
        first, second = self.game_seats
        if {*self.game.replies[first]} & {*self.game.replies[second]}:
            return {}  # an agent cannot tell its seat from its reply spec

        def played(script: Script) -> Script:
            def on_seat(memory: Memory) -> Words | Mapping[Words, float]:
                mine, other = (first, second) if memory.spec in self.game.replies[first] else (second, first)
                names = {ARENA: ARENA, memory.agent: mine}
                seen = tuple((names.get(who, other), words) for who, words in memory.seen)
                return script(Memory(mine, memory.spec, seen))

            return on_seat

        return {name: played(script) for name, script in self.game.scripts().items()}


def population_by_name(make: Callable[..., Arena]) -> Callable[..., Population]:
    """Return a factory of populations whose `game` is a name; `make` builds the game from it and its settings."""

    def population(
        agents: int = 4, graph: str | Sequence[Sequence[str]] = "complete", game: str = "lewis", **settings: Any
    ) -> Population:
        if game == "population":
            raise ArenaError("population needs a game for two, and a population is not one: choose another game")
        return Population(agents, graph, make(game, **settings))

    return population
