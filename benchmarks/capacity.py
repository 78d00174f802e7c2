"""Mutual information through a noisy channel against its capacity: pairs trained on `lewis` under symbol noise.

For each noise level e a pair is trained from scratch, and then plays greedily. Three pieces of information are measured
from those episodes, in bits: I(said; heard), I(state; act), and, with a sender that speaks at random, I(said; heard)
with all symbols equally frequent. Plug-in estimates are biased up, so each has the Miller-Madow correction, a
permutation null, and a standard error. None may exceed the channel's own capacity,
`Channel.capacity`, but by what sampling explains, and

    I(state; act) <= I(said; heard) <= C(e)    and    accuracy <= max(1 - e, 1 / n),

the latter for a code without synonyms. It prints JSON lines, and draws them into OUT/capacity.png:

    python benchmarks/capacity.py [--n 4] [--updates 80] [--levels 0 0.1 0.3] [--seeds 1] [--out runs/capacity]
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from marl.episode import Episode
from marl.metrics.information import codes, joint, mutual_information, mutual_information_corrected, permutation_null
from marl.policy import Random, Seats
from marl.rollout import Plan, collect
from marl.scenario import World
from protocols.envelope import Kind
from trainers.run import Run, RunConfig

EPISODES: Final = 16_384
SETTINGS: Final[dict[str, Any]] = {  # those of examples/02_train_lewis.py
    "threads": 1,
    "log_episodes": 0,
    "algorithm": {"entropy": {"settled": 0.7}},
}


def configuration(options: argparse.Namespace, noise: float, seed: int) -> RunConfig:
    """Return a run on one noise level."""
    size = options.n
    settings = {
        **SETTINGS,
        "scenario": {
            "arena": {"name": "lewis", "n": size, "k": size},
            "channel": [{"type": "noise", "p": noise}] if noise else [],
        },
        "seed": seed,
        "updates": options.updates,
        "evaluate_every": options.updates,
        "checkpoint_every": options.updates,
        "out": options.out / f"noise-{noise:.3f}-{seed}",
    }
    return RunConfig.model_validate(settings)


def played(world: World, seats: Seats, seed: int) -> list[Episode]:
    """Play every state equally often, each time with other noise."""
    deals = [{"case": i % world.arena.cases} for i in range(EPISODES)]
    return collect(world, [Plan(f"probe-{i}", seats, seed, deal, greedy=True) for i, deal in enumerate(deals)])


def pairs(episodes: Sequence[Episode]) -> dict[str, tuple[list[str], list[str]]]:
    """Return what was said and heard, and the state and what was done about it."""
    said, heard, state, act = [], [], [], []
    for episode in episodes:
        entries = episode.log.entries
        message = next(entry for entry in entries if entry.envelope.kind is Kind.SAY)
        said.append(message.envelope.body)
        heard.append(str(message.heard[0].body))
        state.append(entries[0].envelope.body)
        act.append(episode.turns[-1].words[0])
    return {"said_heard": (said, heard), "state_act": (state, act)}


def information(first: Sequence[str], second: Sequence[str]) -> dict[str, float]:
    """Measure I(first; second) in bits: corrected, its standard error, and what chance alone would give.

    The error is that of a mean: I is the mean over samples of log2 p(x, y) / (p(x) p(y)).
    """
    x, y = codes(first), codes(second)
    null = permutation_null(lambda order: mutual_information(x, y[order]), len(x), permutations=100, seed=1)
    assert null is not None
    both = joint(x, y)
    p_x, p_y, p_both = (np.bincount(column)[column] / len(column) for column in (x, y, both))
    error = float(np.log2(p_both / (p_x * p_y)).std()) / len(x) ** 0.5
    return {"bits": mutual_information_corrected(x, y), "error": error, "chance": null.null.mean, "p": null.null.p}


def measure(options: argparse.Namespace, noise: float, seed: int) -> dict[str, Any]:
    """Train a pair and measure what gets through."""
    config = configuration(options, noise, seed)
    shutil.rmtree(config.out, ignore_errors=True)
    run = Run(config)
    run.train()
    episodes = played(run.world, run.seats, seed)
    estimates = {name: information(*columns) for name, columns in pairs(episodes).items()}
    free = played(run.world, dict.fromkeys(run.world.agents, Random()), seed)
    estimates["uniform"] = information(*pairs(free)["said_heard"])
    alphabet = run.world.arena.replies["sender_0"][0].symbols
    capacity = run.world.channel.capacity(alphabet)
    assert capacity is not None
    return {
        "noise": noise,
        "seed": seed,
        "capacity": capacity,
        "accuracy": float(np.mean([episode.score for episode in episodes])),
        "optimum": max(1 - noise, 1 / options.n),
        "below": all(
            estimate["bits"] <= capacity + 3 * estimate["error"] + estimate["chance"] + 1e-9
            for estimate in estimates.values()
        ),
        **estimates,
    }


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Plot information and accuracy against capacity."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    capacity = [row["capacity"] for row in rows]
    top = max(capacity)
    left.plot((0, top), (0, top), color="#9aa5b1", linestyle="--", label="capacity")
    shown = {"uniform": "I(said; heard), random sender", "said_heard": "I(said; heard)", "state_act": "I(state; act)"}
    for place, (name, label) in enumerate(shown.items()):
        values, errors = ([row[name][key] for row in rows] for key in ("bits", "error"))
        left.errorbar(capacity, values, errors, marker="osD"[place], linestyle="", label=label, alpha=0.8)
    right.plot(
        *zip(*sorted((r["capacity"], r["optimum"]) for r in rows), strict=True), color="#9aa5b1", label="optimum"
    )
    right.plot(capacity, [row["accuracy"] for row in rows], "o", label="trained pair")
    for row in rows:
        right.annotate(
            f"e = {row['noise']:.2g}", (row["capacity"], row["accuracy"]), (5, -9), textcoords="offset points"
        )
    for axes, label in ((left, "bits a message"), (right, "accuracy")):
        axes.set_xlabel("capacity of the channel, bits a message")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Train, measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=4, help="states, and symbols")
    parser.add_argument("--updates", type=int, default=80)
    parser.add_argument("--levels", type=float, nargs="+", help="noise levels; default 0 to (n - 1) / n")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/capacity"))
    options = parser.parse_args()
    useless = 1 - 1 / options.n  # every symbol comes out equally often, whatever went in
    levels = options.levels or [useless * share for share in (0, 0.1, 0.2, 0.35, 0.5, 0.7, 1)]
    rows = []
    for noise in levels:
        for seed in range(1, options.seeds + 1):
            rows.append(measure(options, noise, seed))
            print(json.dumps({"benchmark": "capacity", **rows[-1]}, default=float), flush=True)
            draw(rows, options.out / "capacity.png")  # what there is so far


if __name__ == "__main__":
    main()
