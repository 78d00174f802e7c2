from __future__ import annotations

import re
from math import dist

import pytest

from marl.charts.graph import MOST_ARROWS, Flow, layout, picture, shade


def ring(n: int) -> list[str]:
    return [f"seat_{i}" for i in range(n)]


def test_two_seats_stand_side_by_side_the_first_on_the_left() -> None:
    spots = layout(["sender_0", "receiver_0"], {("sender_0", "receiver_0"): None})
    assert spots == {"sender_0": (-1.0, 0.0), "receiver_0": (1.0, 0.0)}


@pytest.mark.parametrize("n", [3, 8, 64, 300])
def test_seats_stand_on_a_circle_from_the_top_clockwise_far_enough_apart(n: int) -> None:
    seats = ring(n)
    spots = layout(seats, {(a, b): None for a in seats for b in seats[:3] if a != b})
    assert list(spots) == seats
    assert spots[seats[0]] == (0.0, 1.0)
    assert spots[seats[1]][0] > 0
    assert all(abs(dist((0, 0), spot) - 1) < 1e-3 for spot in spots.values())
    assert len(set(spots.values())) == n


def test_the_middle_of_a_star_is_in_the_middle() -> None:
    seats = ring(7)
    spots = layout(seats, {(seats[3], seat): None for seat in seats if seat != seats[3]})
    assert dist((0, 0), spots[seats[3]]) < 0.25
    assert min(dist((0, 0), spots[seat]) for seat in seats if seat != seats[3]) > 0.5


def test_colours_run_from_whole_to_broken_and_none_but_whole_looks_whole() -> None:
    assert shade(0.0) == "#1f6feb"
    assert shade(1.0) == "#c92a2a"
    assert shade(0.001) != shade(0.0)
    assert shade(0.5) not in (shade(0.0), shade(1.0))


def test_every_seat_and_every_edge_is_drawn() -> None:
    seats = ["a_0", "b_0", "c_0", "d_0"]
    flows = {("a_0", "b_0"): Flow(8, 0.0), ("b_0", "a_0"): Flow(2, 1.0), ("a_0", "c_0"): Flow(3, 0.0, True)}
    chart = picture("A caption.", seats, {**flows, ("c_0", "d_0"): Flow(0, 0.0)})
    for seat in seats:
        assert f">{seat}</text>" in chart.svg
    for colour in (shade(0.0), shade(1.0)):
        assert colour in chart.svg
    for text in ("8 messages", "2 messages", "all as said", "all lost or altered", "overheard"):
        assert f">{text}</text>" in chart.svg
    assert chart == picture("A caption.", seats, flows)  # an edge without messages is none, and the bytes are the same


def test_nothing_said_is_a_picture_of_the_seats_alone() -> None:
    svg = picture("", ["a_0", "b_0", "c_0"], {}).svg
    assert "messages" not in svg
    assert ">c_0</text>" in svg


def test_sixty_four_seats_that_all_talk_make_a_small_picture() -> None:
    seats = ring(64)
    flows = {
        (a, b): Flow(1 + (i + j) % 7, j % 3 / 2) for i, a in enumerate(seats) for j, b in enumerate(seats) if a != b
    }
    assert len(flows) > MOST_ARROWS
    svg = picture("", seats, flows).svg
    assert len(svg) < 300_000
    assert all(f">{seat}</text>" in svg for seat in seats)
    assert len(re.findall(r"<path", svg)) < 200  # lines of one look are one path
