"""EGG's two basic games here: wall-clock seconds and games until 95% of greedy evaluation episodes succeed.

`reconstruction`: two attributes of ten values, messages of 2 symbols out of 32, the listener names both values.
`discrimination`: the same objects, the listener picks the target among five, by its values: EGG's listener gives its
position.

Figures of EGG (commit 54eb11c, basic_games.play, GRU 128, REINFORCE, batch 512) on two cores of the same kind:
reconstruction 64% after 60 s and 940,000 games; discrimination 95% after 20 s and 240,000 games. They were measured
apart from this run.

    python benchmarks/egg.py --seconds 180
"""

from __future__ import annotations

import argparse
import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from marl.config import check
from trainers.run import Progress, Run, RunConfig

GAMES: dict[str, dict[str, Any]] = {
    "reconstruction": {"name": "reconstruction", "attributes": 2, "values": 10, "length": 2, "alphabet": 32},
    "discrimination": {
        "name": "pointing", "attributes": 2, "values": 10, "distractors": 4, "length": 2, "alphabet": 32,
        "shown": False,
    },
}  # fmt: skip


class EnoughError(Exception):
    """The time is up."""


def main() -> None:
    """Train on both games and print one JSON line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--episodes", type=int, default=512)
    options = parser.parse_args()
    for game, arena in GAMES.items():
        with tempfile.TemporaryDirectory() as folder:
            settings = {
                "scenario": {"arena": arena},
                "seed": options.seed,
                "out": str(Path(folder) / game),
                "updates": 100_000,
                "episodes": options.episodes,
                "stop_at": 0.95,
            }
            run = Run(check(RunConfig, settings, "egg"))
            curve: list[tuple[float, float]] = []

            def watch(progress: Progress, run: Run = run, curve: list[tuple[float, float]] = curve) -> None:
                if progress.success is not None:
                    curve.append((run.seconds, progress.success))
                if run.seconds > options.seconds:
                    raise EnoughError

            with suppress(EnoughError):
                run.train(watch)
            reached = [seconds for seconds, success in curve if success >= 0.95]
            row = {
                "benchmark": "egg",
                "game": game,
                "seconds_to_0.95": round(reached[0], 1) if reached else None,
                "games_to_0.95": run.trainer.version * options.episodes if reached else None,
                "success_after_20_s": max((s for t, s in curve if t <= 20), default=None),
                "success_after_60_s": max((s for t, s in curve if t <= 60), default=None),
                "success_at_end": curve[-1][1] if curve else None,
                "seconds": round(run.seconds, 1),
            }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
