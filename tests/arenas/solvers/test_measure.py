"""Measured scores: their intervals, and that a known score outside of one is seen."""

from __future__ import annotations

import pytest

import arenas
from arenas.scripted import uniform
from arenas.solvers.measure import Measured, best, measure, stages


def test_an_interval_by_hand() -> None:
    """Of a score that is 1 with p = 1/4 (lewis at random): half-width 1.96 sqrt(p (1-p) / n), p as it was played."""
    found = measure(arenas.make("lewis"), 400)
    p = found["random"].mean
    assert found["random"].half == pytest.approx(1.959964 * (p * (1 - p) / 399) ** 0.5, rel=1e-6)
    assert found["random"].agrees(0.25)
    assert found["full"] == (1.0, 0.0)


def test_the_same_seed_gives_the_same_figures() -> None:
    arena = arenas.make("lewis")
    assert measure(arena, 50, 3) == measure(arena, 50, 3) != measure(arena, 50, 1000)


def test_what_lies_outside_does_not_agree() -> None:
    assert not Measured(0.5, 0.1).agrees(0.61)
    assert Measured(0.5, 0.0).agrees(0.5)


def test_the_best_script() -> None:
    assert best({"silent": uniform, "equilibrium": uniform, "full": uniform}) == "full"
    assert best({"silent": uniform, "best": uniform}) == "best"
    assert best({"silent": uniform}) == "silent"
    assert best({}) == "random"


def test_stages() -> None:
    assert stages(arenas.make("lewis")) == (2, 2)
    assert stages(arenas.make("matrix", rounds=3, talk=2)) == (6, 6)
