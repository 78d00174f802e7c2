from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from protocols.errors import ProtocolError
from protocols.topology import Changing, Edges, Fixed, TopologyConfig, build

CONFIGS: TypeAdapter[Fixed | Changing] = TypeAdapter(TopologyConfig)
SEATS = st.integers(0, 7).map(lambda n: [f"a_{i}" for i in range(n)])


def audiences(config: dict[str, Any], n: int) -> list[str]:
    """The audience of each seat as the digits of its listeners."""
    topology = build(CONFIGS.validate_python(config), [str(i) for i in range(n)])
    return ["".join(topology.audience(str(i))) for i in range(n)]


@pytest.mark.parametrize(
    ("shape", "n", "expected"),
    [
        ("complete", 4, ["123", "023", "013", "012"]),
        ("ring", 4, ["13", "02", "13", "02"]),
        ("ring", 2, ["1", "0"]),
        ("star", 4, ["123", "0", "0", "0"]),
        ("chain", 4, ["1", "02", "13", "2"]),
        *((shape, 1, [""]) for shape in ("complete", "ring", "star", "chain")),
        *((shape, 0, []) for shape in ("complete", "ring", "star", "chain")),
    ],
)
def test_shapes(shape: str, n: int, expected: list[str]) -> None:
    assert audiences({"type": shape}, n) == expected


def test_edges_are_directed_and_may_leave_seats_out() -> None:
    assert audiences({"type": "edges", "edges": [["0", "1"], ["0", "2"], ["2", "0"]]}, 4) == ["12", "", "0", ""]
    assert audiences({"type": "edges", "edges": [["0", "2"], ["0", "1"], ["0", "1"]]}, 3) == ["12", "", ""]


@given(SEATS, st.data())
def test_an_audience_lies_within_the_graph(seats: list[str], data: st.DataObject) -> None:
    pairs = [(a, b) for a in seats for b in seats if a != b]
    edges = data.draw(st.lists(st.sampled_from(pairs), max_size=8)) if pairs else []
    shapes = st.sampled_from(["complete", "ring", "star", "chain"]).map(
        lambda shape: CONFIGS.validate_python({"type": shape})
    )
    topology = build(data.draw(shapes | st.just(Edges(edges=tuple(edges)))), seats)
    for agent in seats:
        audience = topology.audience(agent)
        assert list(audience) == [seat for seat in seats if topology.graph().has_edge(agent, seat)]
        assert agent not in audience


def test_an_edge_to_nobody_is_refused_by_name() -> None:
    with pytest.raises(ProtocolError, match=r"topology: no seat 'c'; the seats are a, b"):
        build(Edges(edges=(("a", "c"),)), ["a", "b"])


def test_nobody_hears_itself() -> None:
    with pytest.raises(ProtocolError, match="'a' cannot hear itself"):
        build(Edges(edges=(("a", "b"), ("a", "a"))), ["a", "b"])


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"type": "cube"}, "cube"),
        ({"type": "ring", "edgs": []}, "edgs"),
        ({"type": "edges"}, "edges"),
        ({"type": "edges", "edges": [["a"]]}, "edges.0"),
        ({}, "type"),
    ],
)
def test_a_wrong_configuration_names_its_key(config: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError) as caught:
        CONFIGS.validate_python(config)
    assert named in str(caught.value)
