"""What crosses a graph of edges that may lose messages, worked out by hand and by brute force."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arenas import ArenaError
from arenas.games.puzzles.relay import SINK, SOURCE, Relay, best_accuracy, chain, diamond, in_order, ways

BUTTERFLY = [  # two ways that share no edge, though every seat but one lies on several
    ("relay_1", SINK),
    (SOURCE, "relay_0"),
    ("relay_0", "relay_1"),
    (SOURCE, "relay_1"),
    ("relay_0", SINK),
]


def test_messages_run_along_the_edges_in_an_order_in_which_each_seat_has_heard_all() -> None:
    edges = in_order(BUTTERFLY)
    assert edges[0][0] == SOURCE
    assert sorted(edges) == sorted(BUTTERFLY)
    for i, (sender, _) in enumerate(edges):
        assert all(listener != sender for _, listener in edges[i:])


def test_an_episode_worked_out_by_hand() -> None:
    arena = Relay(states=4, alphabet=2, relays=2, graph="diamond")
    assert arena.channels == {
        "edge_0": ("source_0", "relay_0"),
        "edge_1": ("source_0", "relay_1"),
        "edge_2": ("relay_0", "sink_0"),
        "edge_3": ("relay_1", "sink_0"),
    }
    arena.reset(options={"case": 2})
    seen = []
    for action in (1, 0, 1, 0, 2):
        agent = arena.agent_selection
        seen.append((agent, arena.observe(agent)["text"]))
        arena.step(action)
    assert seen == [
        ("source_0", "edge_0 state s2"),
        ("source_0", "edge_1 state s2"),
        ("relay_0", "source_0 edge_0 : m1 pass"),
        ("relay_1", "source_0 edge_1 : m0 pass"),
        ("sink_0", "relay_0 edge_2 : m1 relay_1 edge_3 : m0 which"),
    ]
    assert set(arena.rewards.values()) == {1.0}


def brute_force(states: int, symbols: int, p: float, q: float) -> float:
    """The best of all codes on source -> relay -> sink, whose edges lose a message with chance p and q."""
    maps = list(product(range(symbols), repeat=states))
    best = 0.0
    for code, passed, answer in product(
        maps, product(range(symbols), repeat=symbols + 1), product(range(states), repeat=symbols + 1)
    ):
        right = 0.0
        for state, sent in enumerate(code):
            for at_relay, a in ((sent, 1 - p), (symbols, p)):
                for at_sink, b in ((passed[at_relay], 1 - q), (symbols, q)):
                    right += a * b * (answer[at_sink] == state)
        best = max(best, right / states)
    return best


@pytest.mark.parametrize(("states", "symbols"), [(2, 2), (3, 2), (2, 3), (3, 1)])
@pytest.mark.parametrize(("p", "q"), [(0.0, 0.0), (0.2, 0.3), (0.0, 0.6), (1.0, 0.1)])
def test_no_code_beats_the_bound_on_a_chain_and_one_reaches_it(states: int, symbols: int, p: float, q: float) -> None:
    assert brute_force(states, symbols, p, q) == pytest.approx(best_accuracy(chain(1), states, symbols, [1 - p, 1 - q]))


@given(st.integers(1, 6), st.integers(2, 9), st.integers(1, 5), st.floats(0, 1))
@settings(deadline=None, max_examples=30)
def test_a_chain_passes_a_message_on_if_every_edge_does(relays: int, states: int, messages: int, p: float) -> None:
    through = (1 - p) ** (relays + 1)
    expected = through * min(messages, states) / states + (1 - through) / states
    assert best_accuracy(chain(relays), states, messages, [1 - p] * (relays + 1)) == pytest.approx(expected)


def test_ways_side_by_side_carry_a_digit_each() -> None:
    assert [len(ways(diamond(n))) for n in (1, 2, 3)] == [1, 2, 3]
    assert len(ways(BUTTERFLY)) == 2
    assert best_accuracy(diamond(3), 8, 2, [1.0] * 6) == 1.0
    assert best_accuracy(diamond(2), 8, 2, [1.0] * 4) == 0.5
    lossy = 0.5 * 0.5 + 0.5 * 0.25  # with one way cut, one digit is left
    assert best_accuracy(diamond(2), 8, 2, [0.5, 1.0, 1.0, 1.0]) == pytest.approx(lossy)
    assert Relay(8, 2, graph="diamond", relays=2).best({"edge_0": 0.5}) == pytest.approx(lossy)


@pytest.mark.parametrize(
    "edges",
    [
        [],
        [(SOURCE, SINK), (SOURCE, SINK)],
        [(SOURCE, "relay_0"), ("relay_0", "relay_0"), ("relay_0", SINK)],
        [(SOURCE, "relay_0"), ("relay_0", SINK), (SINK, SOURCE)],
        [(SOURCE, "relay_1"), ("relay_1", SINK)],
        [(SOURCE, SINK), ("relay_0", SINK)],
        [(SOURCE, SINK), (SOURCE, "relay_0")],
        [(SOURCE, SINK, SINK)],
        [(SOURCE, *(f"relay_{i}" for i in range(3)), SINK)],
        diamond(9),
    ],
    ids=str,
)
def test_graphs_that_carry_nothing_from_source_to_sink(edges: list[tuple[str, ...]]) -> None:
    with pytest.raises(ArenaError, match="a relay graph is a list of at most 16 edges such as"):
        Relay(graph=edges)
