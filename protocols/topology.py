"""Topologies: who hears whom, as a directed graph over the seats, fixed or changing by round."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal
from xml.etree import ElementTree

import networkx as nx
from pydantic import Field, model_validator

from protocols.draws import key
from protocols.errors import ProtocolError
from protocols.settings import Settings

Pair = tuple[int, int]


class Named(Settings):
    """A named graph over the seats in order; `star` has the first seat at its centre."""

    type: Literal["complete", "ring", "star", "chain"] = "complete"


class Edges(Settings):
    """A graph settings edge by edge: `[["a_0", "b_0"]]` lets b_0 hear a_0."""

    type: Literal["edges"] = "edges"
    edges: tuple[tuple[str, str], ...]


class Tree(Settings):
    """The first seat is the root; each seat and the `branching` seats below it hear each other."""

    type: Literal["tree"] = "tree"
    branching: int = Field(default=2, ge=1)


class Bipartite(Settings):
    """The first `left` seats (0: half of them) and all the others hear each other, but none of its own side."""

    type: Literal["bipartite"] = "bipartite"
    left: int = Field(default=0, ge=0)


class SmallWorld(Settings):
    """A ring on which each hears its `neighbours` nearest, each link moved elsewhere with probability `p`.

    (Watts & Strogatz 1998; drawn again until it is connected.)
    """

    type: Literal["small_world"] = "small_world"
    neighbours: int = Field(default=4, ge=2, multiple_of=2)
    p: float = Field(default=0.1, ge=0, le=1)
    seed: int = 0
    every: int = Field(default=0, ge=0)
    """Drawn anew after so many rounds; 0: never."""


class ScaleFree(Settings):
    """Scale-free graph: seats join with `links` links each, preferably to those with many (Barabasi & Albert 1999)."""

    type: Literal["scale_free"] = "scale_free"
    links: int = Field(default=2, ge=1)
    seed: int = 0
    every: int = Field(default=0, ge=0)


class Random(Settings):
    """Random graph: two seats hear each other with probability `p`, each way by itself if `directed` (Gilbert 1959)."""

    type: Literal["random"] = "random"
    p: float = Field(ge=0, le=1)
    directed: bool = False
    seed: int = 0
    every: int = Field(default=0, ge=0)


class GraphML(Settings):
    """A graph from a GraphML file whose nodes are seats. It is read once; `edges` keeps its edges."""

    type: Literal["graphml"] = "graphml"
    path: str
    edges: tuple[tuple[str, str], ...] = ()
    seats: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _read(cls, settings: Any) -> Any:
        if isinstance(settings, dict) and isinstance(settings.get("path"), str) and "edges" not in settings:
            seats, edges = read_graphml(settings["path"])
            return {**settings, "seats": seats, "edges": edges}
        return settings


Fixed = Named | Edges | Tree | Bipartite | SmallWorld | ScaleFree | Random | GraphML


class Changing(Settings):
    """One graph after the other, each for `every` rounds, then the first again."""

    type: Literal["changing"] = "changing"
    graphs: tuple[Annotated[Fixed, Field(discriminator="type")], ...] = Field(min_length=1)
    every: int = Field(default=1, ge=1)


TopologyConfig = Annotated[Fixed | Changing, Field(discriminator="type")]


Audiences = tuple[tuple[str, ...], ...]


class Topology:
    """Communication graph of the seats. `draw` gives, for a round, the listeners of each seat, both in seat order."""

    def __init__(self, name: str, seats: Sequence[str], draw: Callable[[int], Audiences]) -> None:
        self.name = name
        self.seats = tuple(seats)
        self._index = {seat: index for index, seat in enumerate(seats)}
        self._draw = draw

    def at(self, round_: int) -> Audiences:
        """Return the listeners of every seat in a round."""
        return self._draw(round_)

    def audience(self, agent: str, round_: int = 0) -> tuple[str, ...]:
        """Return who hears an agent, in seat order and without itself; nobody hears an agent without a seat here."""
        index = self._index.get(agent)
        return () if index is None else self._draw(round_)[index]

    def graph(self, round_: int = 0) -> nx.DiGraph[str]:
        """Return the graph of a round; an edge from a to b lets b hear what a says."""
        graph: nx.DiGraph[str] = nx.DiGraph()
        graph.add_nodes_from(self.seats)
        graph.add_edges_from((a, b) for a in self.seats for b in self.audience(a, round_))
        return graph


def build(config: Fixed | Changing, seats: Sequence[str]) -> Topology:
    """Return the topology of a configuration; raises ProtocolError for an impossible one."""
    if isinstance(config, Changing):
        graphs = [build(graph, seats) for graph in config.graphs]
        every = config.every
        return Topology("changing", seats, lambda round_: graphs[round_ // every % len(graphs)].at(round_))
    if isinstance(config, Edges | GraphML):
        listeners = _listeners(seats, _named(config, seats))
        return Topology(config.type, seats, lambda round_: listeners)
    again: int = getattr(config, "every", 0)

    @lru_cache(maxsize=4)
    def drawn(epoch: int) -> Audiences:
        try:
            return _listeners(seats, _pairs(config, len(seats), epoch))
        except nx.NetworkXException as error:
            raise ProtocolError(f"topology: no {config.type} graph over {len(seats)} seats: {error}") from None

    first = drawn(0)  # raises now if no graph can be drawn
    return Topology(config.type, seats, (lambda round_: drawn(round_ // again)) if again else lambda round_: first)


def _listeners(seats: Sequence[str], pairs: Iterable[Pair]) -> Audiences:
    listeners: list[set[int]] = [set() for _ in seats]
    for a, b in pairs:
        listeners[a].add(b)
    return tuple(tuple(seats[b] for b in sorted(indices)) for indices in listeners)


def _named(config: Edges | GraphML, seats: Sequence[str]) -> Iterator[Pair]:
    """Yield the edges as seat indices; raises ProtocolError for an invalid one."""
    where = "topology" if isinstance(config, Edges) else f"topology: {config.path}"
    index = {seat: i for i, seat in enumerate(seats)}
    for seat in (*(seat for edge in config.edges for seat in edge), *getattr(config, "seats", ())):
        if seat not in index:
            raise ProtocolError(f"{where}: no seat {seat!r}; the seats are {', '.join(seats)}")
    for a, b in config.edges:
        if a == b:
            raise ProtocolError(f"{where}: {a!r} cannot hear itself; leave out the edge from it to itself")
        yield index[a], index[b]


def _pairs(config: Named | Tree | Bipartite | SmallWorld | ScaleFree | Random, n: int, epoch: int) -> Iterable[Pair]:
    """Return the edges of a graph over n seats, as seat indices."""
    match config:
        case Tree():
            return _both_ways(((i - 1) // config.branching, i) for i in range(1, n))
        case Bipartite():
            left = config.left or n // 2
            return _both_ways((i, j) for i in range(min(left, n)) for j in range(left, n))
        case SmallWorld() | ScaleFree() | Random():
            return _drawn(config, n, key(config.seed, "topology", epoch))
        case Named(type="complete"):
            return ((i, j) for i in range(n) for j in range(n) if i != j)
        case Named(type="ring"):
            return _both_ways((i, (i + 1) % n) for i in range(n) if n > 1)
        case Named(type="star"):
            return _both_ways((0, i) for i in range(1, n))
        case _:
            return _both_ways((i, i + 1) for i in range(n - 1))


def _both_ways(links: Iterable[Pair]) -> Iterator[Pair]:
    for a, b in links:
        yield from ((a, b), (b, a))


def _drawn(config: SmallWorld | ScaleFree | Random, n: int, seed: int) -> Iterable[Pair]:
    """Return the edges of a random graph; networkx draws from a generator made of the seed alone."""
    if isinstance(config, Random):
        graph = nx.gnp_random_graph(n, config.p, seed=seed, directed=config.directed)
        return list(graph.edges) if config.directed else _both_ways(graph.edges)
    if isinstance(config, ScaleFree):
        _room(config.type, n, config.links)
        return _both_ways(nx.barabasi_albert_graph(n, config.links, seed=seed).edges)
    _room(config.type, n, config.neighbours)
    return _both_ways(nx.connected_watts_strogatz_graph(n, config.neighbours, config.p, seed=seed).edges)


def _room(type_: str, n: int, links: int) -> None:
    if n <= links:
        raise ProtocolError(f"topology: {type_} with {links} links a seat needs more than {links} seats, not {n}")


def _label(node: Any, data: Mapping[str, Any]) -> str:
    """Return the seat of a node: its name, or its label, or its id, without white space around it."""
    labels = (str(data.get(name, "")).strip() for name in ("name", "label"))
    return next(filter(None, labels), str(node).strip())


def read_graphml(path: str) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Return the nodes and edges of a GraphML file, undirected ones both ways; raises ProtocolError.

    A node is the seat of its `name` or `label`, if it has one, else of its id.
    """
    try:
        graph = nx.read_graphml(os.path.expanduser(path))
    except OSError as error:
        raise ProtocolError(f"topology: {path}: {error.strerror or error}") from None
    except (ElementTree.ParseError, nx.NetworkXError, LookupError, ValueError, AttributeError, TypeError) as error:
        raise ProtocolError(f"topology: {path} is not a GraphML file: {str(error) or type(error).__name__}") from None
    names = {node: _label(node, data) for node, data in graph.nodes(data=True)}
    if len(set(names.values())) != len(names):
        raise ProtocolError(f"topology: {path}: two nodes have the same name; a node is a seat")
    edges = ((names[a], names[b]) for a, b in graph.edges())
    both = edges if graph.is_directed() else (pair for a, b in edges for pair in ((a, b), (b, a)))
    return tuple(names.values()), tuple(dict.fromkeys(both))
