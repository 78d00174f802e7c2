"""Training with two actors while the broker is killed and seats are restarted: the bytes of the undisturbed run.

Trainer, both actors and the broker are processes of their own. In every trial the broker is killed (SIGKILL) and comes
back, and an actor is killed and started again, at random moments between the first and the last update. `same` trials
end with the training log of the undisturbed run, byte for byte; `same_weights` also with the bytes of its last
checkpoint's policies, which differ where replies were sampled in other batches. Twenty trials take about 20 minutes:

    python benchmarks/training_faults.py [--trials 20] [--strikes 1] [--updates 12]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from marl.rundir.folder import RunDir
from protocols.mqtt.broker import local

SEATS: Final = ("sender_0", "receiver_0")
LIMIT: Final = 600.0  # seconds for a trial
CONFIG: Final = """
out = "{out}"
updates = {updates}
episodes = 16
threads = 1

[scenario.arena]
name = "lewis"

[policy]
width = 16
heads = 2

[algorithm]
critic_width = 16
critic_heads = 2

[host]
url = "{url}"
wait = 120.0
"""


class Trial:
    """A broker, a trainer and an actor for each seat."""

    def __init__(self, updates: int, seed: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sabir-training-"))
        self.out, self.updates, self.dice = self.folder / "run", updates, random.Random(seed)
        self.broker = local()
        self.broker.start()
        config = self.folder / "train.toml"
        config.write_text(CONFIG.format(out=self.out, url=self.broker.url, updates=updates))
        self.processes = {seat: self.actor(seat) for seat in SEATS}
        self.trainer = self.run("train", str(config))

    def run(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command; what it prints is kept beside the run."""
        with (self.folder / f"{words[0]}.txt").open("ab") as file:
            return subprocess.Popen([sys.executable, "-m", "marl", *words], stdout=file, stderr=file)

    def actor(self, seat: str) -> subprocess.Popen[bytes]:
        """Start the actor of a seat."""
        return self.run("agent", self.broker.url, "--run", "train", "--seat", seat, "--policy", "follow")

    def done(self) -> int:
        """Return the number of updates so far."""
        path = RunDir(self.out).metrics
        return path.read_bytes().count(b"\n") if path.is_file() else 0

    def wait_for(self, update: int) -> None:
        """Wait until an update is done, or the trainer has ended, and a little longer."""
        while self.trainer.poll() is None and self.done() < update:
            time.sleep(0.01)
        time.sleep(0.2 * self.dice.random())

    def strike(self, strikes: int) -> int:
        """Kill the broker and an actor, so often each; return how many struck a training that still ran."""
        struck = 0
        kinds = ["broker", "actor"] * strikes
        self.dice.shuffle(kinds)
        for i, kind in enumerate(kinds):
            self.wait_for(1 + i * (self.updates - 2) // len(kinds))
            struck += self.trainer.poll() is None
            if kind == "broker":
                self.broker.kill()
                time.sleep(0.5 * self.dice.random())
                self.broker.start()
            else:
                seat = self.dice.choice(SEATS)
                self.processes[seat].kill()
                self.processes[seat].wait()
                self.processes[seat] = self.actor(seat)
        return struck

    def end(self) -> tuple[bytes, list[bytes], str]:
        """Return the training log, the policies of the last checkpoint, and what the trainer printed."""
        with suppress(subprocess.TimeoutExpired):
            self.trainer.wait(LIMIT)
        log = RunDir(self.out).train_log
        last = max(self.out.glob("checkpoints/[0-9]*"), default=self.out)
        weights = [path.read_bytes() for path in sorted(last.glob("policies/**/*.safetensors"))]
        result = log.read_bytes() if log.is_file() else b"", weights, (self.folder / "train.txt").read_text()
        for process in (self.trainer, *self.processes.values()):
            process.kill()
            process.wait()
        self.broker.stop()
        shutil.rmtree(self.folder)
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--strikes", type=int, default=1, help="broker kills, and as many restarts of a seat, a trial")
    parser.add_argument("--updates", type=int, default=12)
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))
    began = time.perf_counter()
    whole, weights, _ = Trial(options.updates, 0).end()
    assert whole, "the undisturbed training did not end"
    struck = same = same_weights = 0
    for seed in range(options.trials):
        trial = Trial(options.updates, seed)
        struck += trial.strike(options.strikes)
        log, policies, printed = trial.end()
        same += log == whole
        same_weights += log == whole and policies == weights
        if log != whole:
            print(json.dumps({"trial": seed, "printed": printed[-500:]}), flush=True)
    line = {"benchmark": "training_faults", "trials": options.trials, "strikes": 2 * options.strikes, "struck": struck}
    line |= {"same": same, "same_weights": same_weights, "seconds": round(time.perf_counter() - began, 1)}
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
