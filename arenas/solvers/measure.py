"""Sampled scores of random play and of an arena's scripts, with confidence intervals."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np

from arenas.core import Arena
from arenas.scripted import Script, uniform
from arenas.solvers.play import sample

Z: Final = NormalDist().inv_cdf(0.975)
"""Half-width of a 95 % confidence interval in standard errors."""


class Measured(NamedTuple):
    """Mean score of sampled episodes, with its 95 % confidence interval from mean - half to mean + half."""

    mean: float
    half: float

    def agrees(self, anchor: float) -> bool:
        """Say whether the interval contains a score."""
        return abs(self.mean - anchor) <= self.half + 1e-9


def best(scripts: Mapping[str, Script]) -> str:
    """Return the name of the script nearest to the optimum; "random" without scripts."""
    return next((name for name in ("full", "best", "equilibrium", *scripts) if name in scripts), "random")


def measure(arena: Arena, episodes: int, seed: int = 0) -> dict[str, Measured]:
    """Measure the score of random replies ("random") and of each script over `episodes` episodes; seeded."""
    measured = {}
    for name, script in {"random": uniform, **arena.scripts()}.items():
        scores = sample(arena, script, episodes, seed)
        error = float(scores.std(ddof=1)) / episodes**0.5 if episodes > 1 else float("inf")
        measured[name] = Measured(float(scores.mean()), Z * error)
    return measured


def stages(arena: Arena, episodes: int = 20, seed: int = 0) -> tuple[int, int]:
    """Return the minimum and maximum number of stages in random episodes."""
    lengths = [_stages(arena, seed + i) for i in range(episodes)]
    return min(lengths), max(lengths)


def _stages(arena: Arena, seed: int) -> int:
    arena.begin(seed)
    draws = np.random.default_rng((seed, 1))  # independent of the arena's own draws
    count, done = 0, False
    while not done:
        specs = {agent: arena.spec(agent) for agent in arena.acting()}
        done = arena.advance({a: spec.words(int(draws.integers(spec.size))) for a, spec in specs.items()}).done
        count += 1
    return count
