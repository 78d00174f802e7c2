"""EGG's two basic games in Sabir: wall-clock seconds and games until 95% of greedy evaluation episodes succeed.

Seconds are those from making the models on, evaluations included; `training_seconds` leaves these out.

`reconstruction`: two attributes of ten values, messages of 2 symbols out of 32, the listener names both values.
`discrimination`: the same objects, the listener picks the target among five. EGG's sees them and gives a position. Here
it names both values at once, out of those that occur, which is all it knows of the five. The one that has most of what
it named is its choice; a tie is no success.

EGG teaches its listener the right answer by cross-entropy in both games; here both agents learn from the reward alone.

Figures of EGG (commit 54eb11c, basic_games.play, GRU 128, REINFORCE, batch 512) on two cores of the same kind:
reconstruction 64% after 60 s and 940,000 games; discrimination 95% after 20 s and 240,000 games. They were measured
apart from this run.

    python benchmarks/egg.py --seconds 180
    python benchmarks/egg.py --seconds 180 --seeds 1 2 3 --games discrimination
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from marl.settings import check
from trainers.run import Progress, Run, RunConfig

GAMES: dict[str, dict[str, Any]] = {
    "reconstruction": {"name": "reconstruction", "attributes": 2, "values": 10, "length": 2, "alphabet": 32},
    "discrimination": {
        "name": "pointing", "attributes": 2, "values": 10, "distractors": 4, "length": 2, "alphabet": 32,
        "shown": False, "once": True,
    },
}  # fmt: skip

ALGORITHM: dict[str, Any] = {
    "lr": 2e-3, "epochs": 2, "minibatches": 4, "entropy": {"settled": 0.2},
    "critic_lr": 2e-3, "critic_width": 32, "critic_layers": 1, "critic_heads": 2,
}  # fmt: skip
"""Larger steps, eight of them an update, and a critic small enough to keep up."""


class EnoughError(Exception):
    """The time is up."""


def measure(game: str, seed: int, episodes: int, most: float) -> dict[str, Any]:
    """Train on a game for at most so many seconds and return what was measured."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "scenario": {"arena": GAMES[game]},
            "algorithm": ALGORITHM,
            "seed": seed,
            "out": str(Path(folder) / game),
            "updates": 100_000,
            "episodes": episodes,
            "evaluate_every": 5,
            "stop_at": 0.95,
        }
        began = time.perf_counter()
        run = Run(check(RunConfig, settings, "egg"))
        curve: list[tuple[float, float]] = []

        def watch(progress: Progress) -> None:
            seconds = time.perf_counter() - began
            if progress.success is not None:
                curve.append((seconds, progress.success))
            if seconds > most:
                raise EnoughError

        with suppress(EnoughError):
            run.train(watch)
    reached = [seconds for seconds, success in curve if success >= 0.95]
    return {
        "benchmark": "egg",
        "game": game,
        "seed": seed,
        "seconds_to_0.95": round(reached[0], 1) if reached else None,
        "games_to_0.95": run.trainer.version * episodes if reached else None,
        "success_after_20_s": max((s for t, s in curve if t <= 20), default=None),
        "success_after_60_s": max((s for t, s in curve if t <= 60), default=None),
        "success_at_end": curve[-1][1] if curve else None,
        "training_seconds": round(run.seconds, 1),
    }


def main() -> None:
    """Print one JSON line for each game and seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--games", nargs="+", choices=GAMES, default=list(GAMES))
    parser.add_argument("--episodes", type=int, default=512)
    options = parser.parse_args()
    for game in options.games:
        for seed in options.seeds:
            print(json.dumps(measure(game, seed, options.episodes, options.seconds)), flush=True)


if __name__ == "__main__":
    main()
