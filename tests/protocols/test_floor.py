from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from protocols.floor import Floor, FloorConfig, Free, Moderator

SEATS = st.lists(st.text(max_size=3), unique=True, max_size=5).map(tuple)


@given(SEATS, st.sampled_from(Floor))
def test_everyone_is_asked_once_in_seat_order(acting: tuple[str, ...], floor: Floor) -> None:
    groups = floor.turns(acting)
    assert tuple(agent for group in groups for agent in group) == acting
    assert all(groups)


@given(SEATS.filter(bool))
def test_who_is_asked_at_once(acting: tuple[str, ...]) -> None:
    assert Floor.SIMULTANEOUS.turns(acting) == (acting,)
    assert Floor.ROUNDS.turns(acting) == tuple((agent,) for agent in acting)


def test_names_are_part_of_the_configuration() -> None:
    assert [floor.value for floor in Floor] == ["simultaneous", "rounds"]
    with pytest.raises(ValueError, match="shouting"):
        Floor("shouting")


FLOORS: TypeAdapter[Floor | Moderator | Free] = TypeAdapter(FloorConfig)


@pytest.mark.parametrize(
    ("given_as", "meant", "written"),
    [
        ("rounds", Floor.ROUNDS, "rounds"),
        (Floor.SIMULTANEOUS, Floor.SIMULTANEOUS, "simultaneous"),
        ({"type": "rounds"}, Floor.ROUNDS, "rounds"),
        ("moderator", Moderator(), {"type": "moderator", "seat": ""}),
        ({"type": "moderator", "seat": "a_0"}, Moderator(seat="a_0"), {"type": "moderator", "seat": "a_0"}),
        ("free", Free(), {"type": "free", "limit": 16, "speaking": 0.0, "silence": 0.0, "bids": 0}),
        (Free(bids=2), Free(bids=2), {"type": "free", "limit": 16, "speaking": 0.0, "silence": 0.0, "bids": 2}),
    ],
)
def test_a_floor_is_a_name_or_a_table(given_as: object, meant: object, written: object) -> None:
    floor = FLOORS.validate_python(given_as)
    assert floor == meant
    assert FLOORS.dump_python(floor, mode="json") == written
    assert FLOORS.validate_python(written) == meant


@pytest.mark.parametrize("given_as", ["shouting", {"type": "shouting"}, {}, 3, None, {"seat": "a_0"}])
def test_another_floor_is_refused_with_those_there_are(given_as: object) -> None:
    with pytest.raises(ValidationError, match="'simultaneous', 'rounds', 'moderator' or 'free'"):
        FLOORS.validate_python(given_as)


@given(SEATS, st.integers(0, 99))
def test_a_drawn_order_has_everyone_once_and_depends_on_the_stage(acting: tuple[str, ...], seed: int) -> None:
    orders = [Moderator().order(acting, seed, "e", stage) for stage in range(8)]
    assert all(sorted(order) == sorted(acting) for order in orders)
    assert orders == [Moderator().order(acting, seed, "e", stage) for stage in range(8)]
    if len(acting) == 5:
        assert len(set(orders)) > 1


def test_the_highest_bid_wins_and_equal_ones_are_drawn_for() -> None:
    assert Free.winner({"a": 1, "b": 3, "c": 2}, 1, "e", 0, 0) == "b"
    assert Free.winner({"a": 0, "b": 0}, 1, "e", 0, 0) is None
    assert Free.winner({}, 1, "e", 0, 0) is None
    drawn = [Free.winner({"a": 2, "b": 2, "c": 1}, seed, "e", 0, 0) for seed in range(400)]
    assert 150 < drawn.count("a") < 250
    assert set(drawn) == {"a", "b"}
