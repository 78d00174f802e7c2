from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.floor import Floor

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
