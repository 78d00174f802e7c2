"""Exploitability of self-play policies (distance to an equilibrium): a JSON line per game and seed.

`kuhn`: exploitability of the last policies and of their average over the run (0 is an equilibrium, random replies have
0.458). `matching_pennies`, `rock_paper_scissors`: how far the average policy's chances are from the equilibrium's, at
most. `tictactoe`: how greedy play ends against perfect play and against random replies, from both seats.

    python benchmarks/selfplay.py --games kuhn --seeds 1 2 3 4 5
"""

from __future__ import annotations

import argparse
import json
import tempfile
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np

from marl.evaluation import exploitability as exploit
from marl.policy import ArenaScriptPolicy, Policy, Random
from marl.rollout import Plan, collect
from trainers.run import Run, RunConfig

LEAGUE: Final = {"every": 5, "size": 128, "share": 0.2, "opponents": 1, "matchmaking": "latest"}


MATRIX: Final = {
    "updates": 300,
    "episodes": 256,
    "league": LEAGUE,
    "algorithm": {
        "normalise": False,
        "critic_lr": 1e-3,
        "entropy": {"random": 0.5, "settled": 0.5},  # in units of the return
        "optimizer": "sgd",
        "lr": 0.03,
    },
}
GAMES: Final[dict[str, dict[str, Any]]] = {
    "kuhn": tomllib.loads((Path(__file__).parents[1] / "examples" / "kuhn.toml").read_text()),
    "matching_pennies": MATRIX | {"scenario": {"arena": {"name": "matrix", "game": "matching_pennies"}}},
    "rock_paper_scissors": MATRIX | {"scenario": {"arena": {"name": "matrix", "game": "rock_paper_scissors"}}},
    "tictactoe": {
        "scenario": {"arena": {"name": "tictactoe"}},
        "updates": 300,
        "episodes": 256,
        "sharing": "shared",
        "league": {"every": 20, "size": 16, "share": 0.25},
        "algorithm": {"entropy": {"random": 0.0, "settled": 0.1}},
    },
}


def against(run: Run, other: Policy, episodes: int = 100) -> dict[str, int]:
    """Return how often the trained policies win, draw and lose from either seat, playing greedily."""
    counts: Counter[str] = Counter()
    for seat in run.world.agents:
        seats = dict(run.seats) | {rival: other for rival in run.world.agents if rival != seat}
        plans = [
            Plan(f"{other.name}-{i}", seats, run.config.seed, greedy=other.name != "random") for i in range(episodes)
        ]
        for episode in collect(run.world, plans):
            own = episode.returns[run.world.agents.index(seat)]
            counts["won" if own > 0 else "lost" if own < 0 else "drawn"] += 1
    return dict(counts)


def measured(run: Run) -> dict[str, Any]:
    """Return what a finished run's policies are worth."""
    if run.tree is None:
        perfect = ArenaScriptPolicy(run.world.arena.scripts()["equilibrium"], "perfect")
        return {"against_perfect": against(run, perfect), "against_random": against(run, Random())}
    now = exploit.played(run.tree, {seat: run.trainer.policies[name] for seat, name in run.trainer.seats.items()})
    assert run.selfplay is not None
    mean = run.selfplay.average(run.tree, run.trainer.version, now)
    values = {name: round(value, 4) for name, value in exploit.measure(run.tree, now, mean).items()}
    if "matrix" in run.world.arena.name:
        values["average_off"] = round(float(np.abs(mean - run.tree.uniform()).max()), 4)
    return values


def main() -> None:
    """Train in each game with each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", nargs="+", choices=GAMES, default=list(GAMES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    options = parser.parse_args()
    for game in options.games:
        for seed in options.seeds:
            with tempfile.TemporaryDirectory() as folder:
                settings = GAMES[game] | {"seed": seed, "out": str(Path(folder) / game), "evaluate_every": 50}
                run = Run(RunConfig.model_validate(settings))
                run.train()
                row = {"benchmark": "selfplay", "game": game, "seed": seed, "updates": run.trainer.version}
                print(json.dumps(row | measured(run) | {"seconds": round(run.seconds)}), flush=True)


if __name__ == "__main__":
    main()
