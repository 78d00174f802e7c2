"""A run killed with -9 at random moments, and resumed each time, ends with the same bytes as one never killed.

Compared are policies, critic, logs and metrics (all but the times). Each trial is one command, `marl train`, killed
after a random time, then started again until it ends; the moments are drawn anew in each. It prints one JSON line:

    python benchmarks/killed.py [--kills 20] [--setting league=...]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

SETTINGS: Final = (
    "updates=40",
    "episodes=64",
    "evaluate_every=10",
    "checkpoint_every=2",
    "log_episodes=4",
    "policy.width=16",
    "policy.heads=2",
    "algorithm.critic_width=16",
    "algorithm.critic_heads=2",
    "algorithm.value_norm=true",
)


def command(out: Path, extra: list[str], *, fresh: bool) -> list[str]:
    """Return the command that starts a run, or resumes it."""
    words = ["lewis", *SETTINGS, *extra, f"out={out}"] if fresh else [str(out)]
    return [sys.executable, "-m", "marl", "train", *words]


def left(out: Path) -> dict[str, Any]:
    """Return what a run leaves that does not depend on the time of day."""
    kept: dict[str, Any] = {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.suffix in (".safetensors", ".gz")
    }
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    kept["metrics"] = [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows]
    return kept


def main() -> None:
    """Kill, resume, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument(
        "--setting", action="append", default=[], help="a setting of the run, such as algorithm.type=c3"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    dice = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        began = time.monotonic()
        subprocess.run(command(whole, options.setting, fresh=True), check=True, capture_output=True)
        seconds = time.monotonic() - began
        expected, kills, trials, same = left(whole), 0, 0, 0
        while kills < options.kills:
            out = Path(folder) / f"killed-{trials}"
            trials += 1
            while not (out / "summary.json").is_file():
                process = subprocess.Popen(
                    command(out, options.setting, fresh=not (out / "config.toml").is_file()),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                )
                try:
                    _, errors = process.communicate(
                        timeout=seconds * dice.uniform(0.3, 0.9) if kills < options.kills else None
                    )
                    if process.returncode:
                        raise SystemExit(errors.decode()[-500:])
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    kills += 1
            same += left(out) == expected
    print(
        json.dumps(
            {"benchmark": "killed", "kills": kills, "runs": trials, "same_bytes": same, "settings": options.setting}
        )
    )


if __name__ == "__main__":
    main()
