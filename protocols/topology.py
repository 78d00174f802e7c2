"""Who hears whom: a directed graph over the seats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import networkx as nx
from pydantic import BaseModel, ConfigDict, Field

from protocols.errors import ProtocolError


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Named(_Shape):
    """A graph known by name, over the seats in their order; `star` has the first seat at its centre."""

    type: Literal["complete", "ring", "star", "chain"] = "complete"


class Edges(_Shape):
    """A graph given edge by edge: `[["a_0", "b_0"]]` lets b_0 hear a_0."""

    type: Literal["edges"] = "edges"
    edges: tuple[tuple[str, str], ...]


TopologyConfig = Annotated[Named | Edges, Field(discriminator="type")]


class Topology:
    """A graph over the seats; an edge from a to b lets b hear what a says."""

    def __init__(self, name: str, graph: nx.DiGraph[str]) -> None:
        self.name = name
        self.graph = graph
        seats = list(graph.nodes)
        self._audience = {a: tuple(b for b in seats if graph.has_edge(a, b)) for a in seats}

    def audience(self, agent: str) -> tuple[str, ...]:
        """Return who hears an agent, in seat order; an agent does not hear itself."""
        return self._audience[agent]


def build(config: Named | Edges, seats: Sequence[str]) -> Topology:
    """Lay a configured graph over the seats; raises ProtocolError for an edge that cannot be."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(seats)
    if isinstance(config, Edges):
        for edge in config.edges:
            for seat in edge:
                if seat not in seats:
                    raise ProtocolError(f"topology: no seat {seat!r}; the seats are {', '.join(seats)}")
            if edge[0] == edge[1]:
                raise ProtocolError(f"topology: {edge[0]!r} cannot hear itself; leave out the edge from it to itself")
        graph.add_edges_from(config.edges)
        return Topology("edges", graph)
    n = len(seats)
    pairs = {
        "complete": [(i, j) for i in range(n) for j in range(n) if i != j],
        "ring": [(i, (i + step) % n) for i in range(n) for step in (1, -1) if n > 1],
        "star": [edge for i in range(1, n) for edge in ((0, i), (i, 0))],
        "chain": [edge for i in range(n - 1) for edge in ((i, i + 1), (i + 1, i))],
    }[config.type]
    graph.add_edges_from((seats[i], seats[j]) for i, j in pairs)
    return Topology(config.type, graph)
