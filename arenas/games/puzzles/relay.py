"""Relay: messages that cross a graph of private channels, hop by hop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from math import prod
from typing import ClassVar, Final

import networkx as nx
from typing_extensions import override

from arenas.core import Anchors, Arena, Outcome
from arenas.errors import ArenaError
from arenas.scripted import Memory, Script, first
from arenas.spec import ReplySpec, Words, choose, say, symbols

SOURCE: Final = "source_0"
SINK: Final = "sink_0"
MOST_EDGES: Final = 16
Edge = tuple[str, str]


def chain(relays: int) -> list[Edge]:
    """Return the edges of a chain of relays."""
    return list(pairwise([SOURCE, *symbols("relay_", relays), SINK]))


def diamond(relays: int) -> list[Edge]:
    """Return the edges of relays side by side, each between the source and the sink."""
    return [edge for relay in symbols("relay_", relays) for edge in ((SOURCE, relay), (relay, SINK))]


GRAPHS: Final = {"chain": chain, "diamond": diamond}


def in_order(edges: Sequence[Sequence[str]]) -> list[Edge]:
    """Sort edges topologically: those into a seat before those out of it; raises ArenaError for other graphs."""
    graph = nx.DiGraph([(edge[0], edge[-1]) for edge in edges if len(edge) == 2])
    relays = symbols("relay_", max(len(graph) - 2, 0))
    single = len(edges) == graph.number_of_edges() <= MOST_EDGES
    if not single or set(graph) != {SOURCE, *relays, SINK} or not nx.is_directed_acyclic_graph(graph):
        fits = False
    else:
        fits = all(nx.has_path(graph, SOURCE, seat) and nx.has_path(graph, seat, SINK) for seat in graph)
    if not fits:
        raise ArenaError(
            f"a relay graph is a list of at most {MOST_EDGES} edges such as ['source_0', 'relay_0'], each given once, "
            f"between source_0, relay_0, relay_1, ... and sink_0, without cycles, every seat on a way from source to "
            f"sink; not {[list(edge) for edge in edges]}"
        )
    return [(a, b) for a in nx.lexicographical_topological_sort(graph) for b in sorted(graph[a])]


def ways(edges: Sequence[Edge]) -> list[list[Edge]]:
    """Return a maximum set of edge-disjoint paths from the source to the sink: the maximum flow, and minimum cut."""
    graph = nx.DiGraph(edges)
    if not (graph.has_node(SOURCE) and graph.has_node(SINK) and nx.has_path(graph, SOURCE, SINK)):
        return []
    return [list(pairwise(way)) for way in nx.edge_disjoint_paths(graph, SOURCE, SINK)]


def best_accuracy(edges: Sequence[Edge], states: int, messages: int, arrives: Sequence[float]) -> float:
    """Return an upper bound on accuracy under any code, when edge i delivers with probability `arrives[i]`.

    Where the edges that deliver have a minimum cut of c, the sink can tell at most M^c of n states apart, M being the
    messages of an edge, so it is right in min(M^c, n) of n; with nothing delivered in 1 of n. The bound is the mean
    over what is delivered. Forwarding attains it: on a chain always, as a sink that hears what a relay made up is right
    in 1 of n like any other guess, and on every graph without losses, along edge-disjoint paths. With losses on other
    graphs it may be out of reach, as nobody learns what was lost.
    """
    total = 0.0
    for happens in product(*([(there, q) for there, q in ((True, p), (False, 1 - p)) if q > 0] for p in arrives)):
        cut = len(ways([edge for edge, (there, _) in zip(edges, happens, strict=True) if there]))
        total += prod(q for _, q in happens) * min(messages**cut, states) / states
    return total


class Relay(Arena):
    """Relay over a `graph`: a chain of `relays`, a diamond, or a list of edges such as [["source_0", ...]].

    Each edge carries one message of `length` out of `alphabet` symbols.
    """

    rules = """
    Relay: a source sees one of n states, a sink must name it, and messages cross a graph of relays between them.

    Every edge of the graph is a private channel and is used once: `edge_0` first, and a seat speaks when it has heard all
    that it will hear. All seats get 1 if the sink is right, else 0. Nothing is lost unless the scenario puts effects on the
    edges (`[scenario.channels.edge_0]`). How much crosses a graph: Ford & Fulkerson 1956.

    `graph`: a chain of `relays`, a diamond of as many side by side, or a list of edges such as [["source_0", ...]].

    Each edge carries one message of `length` out of `alphabet` symbols.
    """
    metadata = Arena.metadata | {"name": "relay_v0"}
    tags = ("cooperative", "communication", "memory")
    ranges: ClassVar[Mapping[str, tuple[int, int]]] = {
        "states": (2, 30),
        "alphabet": (1, 16),
        "length": (1, 4),
        "relays": (1, 6),
    }

    def __init__(
        self,
        states: int = 3,
        alphabet: int = 6,
        length: int = 1,
        relays: int = 1,
        graph: str | Sequence[Sequence[str]] = "chain",
    ) -> None:
        if states < 2 or alphabet < 1 or length < 1 or not 1 <= relays <= MOST_EDGES // 2:
            raise ArenaError(
                f"relay needs states >= 2, alphabet and length >= 1 and 1 to {MOST_EDGES // 2} relays, "
                f"not {states=}, {alphabet=}, {length=} and {relays=}"
            )
        if isinstance(graph, str) and graph not in GRAPHS:
            raise ArenaError(f"graph is {' or '.join(GRAPHS)}, or a list of edges, not {graph!r}")
        self.edges = in_order(GRAPHS[graph](relays) if isinstance(graph, str) else graph)
        self.cases, self.messages, self.states = states, alphabet**length, symbols("s", states)
        self.names = symbols("edge_", len(self.edges))
        specs: dict[str, list[ReplySpec]] = {}
        for name, (sender, _) in zip(self.names, self.edges, strict=True):
            specs.setdefault(sender, []).append(say(symbols("m", alphabet), length, channels=(name,)))
        self.talk = [spec for several in specs.values() for spec in several]
        super().__init__(
            {**specs, SINK: choose(self.states)},
            words=("state", "pass", "which"),
            view_words=4 + (3 + length) * len(self.edges),
            channels=dict(zip(self.names, self.edges, strict=True)),
        )

    @override
    def lay(self, case: int) -> None:
        self.truth, self.stage = self.states[case], 0

    @override
    def acting(self) -> tuple[str, ...]:
        return (self.edges[self.stage][0] if self.stage < len(self.edges) else SINK,)

    @override
    def spec(self, agent: str) -> ReplySpec:
        return self.talk[self.stage] if self.stage < len(self.talk) else self.replies[SINK][0]

    @override
    def view(self, agent: str) -> str:
        # The source sees the state; who speaks on several edges sees the current one.
        if agent == SINK:
            return "which"
        prompt = f"state {self.truth}" if agent == SOURCE else "pass"
        return prompt if len(self.replies[agent]) == 1 else f"{self.names[self.stage]} {prompt}"

    @override
    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        self.stage += 1
        hit = float(replies.get(SINK) == (self.truth,))
        return Outcome(dict.fromkeys(self.replies, hit), done=SINK in replies)

    @override
    def hidden(self) -> str:
        return f"state {self.truth}"

    def best(self, arrives: Mapping[str, float]) -> float:
        """Return `best_accuracy` where the named edges deliver with these probabilities, and the others always."""
        return best_accuracy(self.edges, self.cases, self.messages, [arrives.get(name, 1.0) for name in self.names])

    @override
    def anchors(self) -> Anchors:
        # Over lossless edges; without any message the sink is right once in n.
        return Anchors(1 / self.cases, 1 / self.cases, self.best({}))

    @override
    def scripts(self) -> Mapping[str, Script]:
        # The source sends one digit of the state's number, in base M, on each path; relays forward it.
        routes = ways(self.edges)
        digit = {way[0]: self.messages**i for i, way in enumerate(routes)}
        before = {b: a for way in routes for a, b in pairwise(way)}

        def full(memory: Memory) -> Words:
            messages = {(sender, memory.agent): words for sender, words in memory.heard}
            if memory.agent == SINK:
                number = sum(self.talk[0].index(messages[way[-1]]) * digit[way[0]] for way in routes)
                return memory.spec.words(min(number, self.cases - 1))
            edge = self.edges[self.names.index(memory.spec.channels[0])]
            if edge in digit:
                number = min(self.states.index(memory.view[-1]), self.messages ** len(routes) - 1)
                return memory.spec.words(number // digit[edge] % self.messages)
            return messages[before[edge]] if edge in before else memory.spec.words(0)

        return {"silent": first, "full": full}
