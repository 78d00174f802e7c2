"""Speed of this checkout over another one: rollout, update, sampler, bus and study, paired in fresh processes.

    python benchmarks/paired.py ../before [--only rollout --only bus] [--rounds 5]

Each checkout runs its own benchmark files on its own packages, with the Python that runs this file. The two take turns
(A B, then B A), so that a slow spell of the machine meets both; leave the machine alone meanwhile, and run this file
with a checkout against itself to see the noise. Prints a JSON line per figure: the medians, `speed` (their ratio, above
1 where this checkout is faster), and the lowest, middle and highest ratio of single rounds. The default takes about ten
minutes on two cores. The exit code is 1 if a median is slower by more than --tolerance.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parents[1]
BUS: Final = """
import gc, json, runpy, sys, types
from statistics import median
peer = types.ModuleType("autogen_core")  # which the file imports, and which is not measured here
peer.__getattr__ = lambda name: type(name, (), {})
sys.modules["autogen_core"] = peer
bench = runpy.run_path("benchmarks/bus.py")
for traffic, deliveries in bench["DELIVERIES"].items():
    for agents in bench["AGENTS"]:
        rates = []
        for _ in range(5):
            gc.collect()
            publishes = deliveries // agents
            ahead = 1 if traffic == "paced" else publishes
            rates.append(bench["run"](bench["sabir"](agents, publishes, ahead), "wall"))
        print(json.dumps({"benchmark": "bus", "traffic": traffic, "agents": agents, "sabir_per_s": median(rates)}))
"""
"""Our half of benchmarks/bus.py, without its peer."""
COMMANDS: Final[dict[str, tuple[str, ...]]] = {
    "rollout": ("benchmarks/rollout.py", "--processes", "1", "--rounds", "5"),
    "update": ("benchmarks/update.py", "--rounds", "5"),
    "sampler": ("benchmarks/sampler.py", "--rounds", "3", "--threads", "1"),
    "bus": ("-c", BUS),
    "study": ("benchmarks/study.py", "--messages", "2000"),
}
RATES: Final = ("platform_tokens_per_s", "update_tokens_per_s", "sabir_tokens_per_s", "sabir_per_s")
LABELS: Final = ("what", "traffic", "agents", "messages", "parameters")
SHORTEST: Final = 0.1
"""Seconds; the study rounds to a hundredth, so shorter times are not compared."""


def python(checkout: Path, *arguments: str) -> str:
    """Run Python in a checkout, on its own packages, and return what it prints; exits where it fails."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{checkout}: {arguments[0]} failed:\n{done.stderr}")
    return done.stdout


def figures(benchmark: str, row: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the figures of a JSON line as speeds: how much is done in a second."""
    label = " ".join([benchmark, *(f"{name}={row[name]}" for name in LABELS if name in row)])
    for name in RATES:
        if name in row:
            yield label, float(row[name])
    if row.get("seconds", 0) >= SHORTEST:
        yield label, 1 / row["seconds"]


def measure(checkout: Path, benchmark: str) -> dict[str, float]:
    """Return the figures of one benchmark of a checkout, from a fresh process."""
    rows = map(json.loads, python(checkout, *COMMANDS[benchmark]).splitlines())
    return dict(figure for row in rows for figure in figures(benchmark, row))


def compare(other: Path, benchmark: str, rounds: int) -> Iterator[dict[str, Any]]:
    """Run one benchmark of both checkouts in turn; yield a row per figure that both have."""
    runs: dict[Path, list[dict[str, float]]] = {HERE: [], other: []}
    for number in range(rounds):
        for checkout in (HERE, other) if number % 2 == 0 else (other, HERE):
            runs[checkout].append(measure(checkout, benchmark))
    for figure in runs[HERE][0]:
        pairs = [
            (ours[figure], theirs[figure])
            for ours, theirs in zip(runs[HERE], runs[other], strict=True)
            if figure in ours and figure in theirs
        ]
        if not pairs:
            continue
        here, there = median(ours for ours, _ in pairs), median(theirs for _, theirs in pairs)
        ratios = [ours / theirs for ours, theirs in pairs]
        spread = [round(value, 3) for value in (min(ratios), median(ratios), max(ratios))]
        yield {
            "figure": figure,
            "here_per_s": float(f"{here:.4g}"),
            "there_per_s": float(f"{there:.4g}"),
            "speed": round(here / there, 3),
            "rounds": spread,
        }


def main() -> None:
    """Compare, print JSON lines, and name the figures that are slower."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="another checkout, such as a git worktree of the commit before")
    parser.add_argument("--only", action="append", choices=COMMANDS, help="one benchmark; may be given again")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tolerance", type=float, default=0.03, help="the most by which a figure may be slower")
    options = parser.parse_args()
    other = options.other.resolve()
    for checkout in (HERE, other):
        code = "import marl, protocols, trainers; print(marl.__file__, protocols.__file__, trainers.__file__)"
        if any(not path.startswith(f"{checkout}{os.sep}") for path in python(checkout, "-c", code).split()):
            sys.exit(f"{checkout}: Python imports the packages from elsewhere")
    slower = []
    for benchmark in options.only or COMMANDS:
        for row in compare(other, benchmark, options.rounds):
            print(json.dumps(row), flush=True)
            if row["speed"] < 1 - options.tolerance:
                slower.append(row["figure"])
    if slower:
        sys.exit(f"slower by more than {options.tolerance:.0%}: {'; '.join(slower)}")


if __name__ == "__main__":
    main()
