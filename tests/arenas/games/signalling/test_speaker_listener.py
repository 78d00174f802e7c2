"""Distances on a grid, and the best path of one who does not know the goal, against brute force over all paths."""

from __future__ import annotations

from itertools import product
from statistics import fmean

import pytest

from arenas.games.signalling.speaker_listener import MOVES, SpeakerListener, distances, layouts, moved


def test_the_edge_of_the_grid_stops_a_move() -> None:
    assert moved((0, 2), "north", 3) == (0, 2)
    assert moved((0, 2), "west", 3) == (0, 2)
    assert moved((0, 2), "east", 3) == (1, 2)
    assert moved((0, 2), "south", 3) == (0, 1)
    assert moved((0, 2), "stay", 3) == (0, 2)


def test_an_episode_worked_out_by_hand() -> None:
    arena = SpeakerListener(horizon=2)
    arena.begin(case=9 + 7)  # green, the listener at c2
    assert arena.hidden() == "goal green red a1 green c3 blue a3 you c2"
    assert arena.view("speaker_0") == "goal green"
    assert not arena.advance({"speaker_0": ("m1",)}).rewards
    assert arena.view("listener_0") == "you c2"
    assert arena.advance({"listener_0": ("west",)}).rewards == {"speaker_0": -2.0, "listener_0": -2.0}
    assert arena.view("listener_0") == "you b2"
    outcome = arena.advance({"listener_0": ("north",)})
    assert outcome.rewards == {"speaker_0": -1.0, "listener_0": -1.0}
    assert outcome.done


def test_scattered_landmarks_are_shown_once() -> None:
    arena = SpeakerListener(scattered=True)
    arena.begin(case=arena.cases - 1)
    arena.advance({"speaker_0": ("m1",)})
    assert arena.view("listener_0") == "red c3 green c2 blue c1 you c3"
    arena.advance({"listener_0": ("south",)})
    assert arena.view("listener_0") == "you c2"


def test_scattered_landmarks_stand_on_cells_of_their_own_each_way_once() -> None:
    arena = SpeakerListener(size=2, landmarks=3, scattered=True)
    seen = set()
    for case in range(arena.cases):
        arena.begin(case=case)
        assert len(set(arena.marks)) == 3
        seen.add(arena.hidden())
    assert len(seen) == arena.cases == 4 * 3 * 2 * 3 * 4


@pytest.mark.parametrize(("size", "landmarks", "scattered"), [(3, 3, False), (3, 2, True), (4, 4, False), (2, 3, True)])
def test_no_path_beats_silence(size: int, landmarks: int, scattered: bool) -> None:
    """For every start and layout, all paths are tried against the mean over the goals, and against each goal."""
    horizon = 3
    arena = SpeakerListener(size, landmarks, horizon, scattered=scattered)
    silent, full = [], []
    apart = distances(size)
    for start, marks in product(arena.cells, layouts(size, landmarks, scattered).tolist()):
        sums = []  # [path][goal]
        for path in product(MOVES, repeat=horizon):
            at, paid = start, [0.0] * landmarks
            for move in path:
                at = moved(at, move, size)
                paid = [sofar + float(apart[mark][at]) for sofar, mark in zip(paid, marks, strict=True)]
            sums.append(paid)
        silent.append(min(map(fmean, sums)))
        full.append(fmean(map(min, zip(*sums, strict=True))))
    assert arena.anchors().silent == pytest.approx(-fmean(silent))
    assert arena.anchors().full == pytest.approx(-fmean(full))
