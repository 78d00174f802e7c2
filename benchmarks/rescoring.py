"""Cost of scoring the replies of remote actors before an update: all of them, or those of a sample of episodes.

    python benchmarks/rescoring.py

Prints, per world, the milliseconds of an update and of scoring, and the largest distance of the sampler's own
log-probabilities and draws from those that scoring computes: what an honest actor on this machine shows.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch

from marl.episode import Episode, Turn
from marl.rollout.collect import collect
from protocols.draws import key
from trainers.rescoring import score_replies
from trainers.run import Run
from trainers.run_config import RunConfig

EPISODES: Final = 512
SAMPLED: Final = 8
"""A sample is one in so many episodes."""
REPEATS: Final = 7
WORLDS: Final[dict[str, dict[str, Any]]] = {
    "lewis": {"name": "lewis"},
    "reconstruction": {"name": "reconstruction", "values": 4},
    "matrix, 10 rounds": {"name": "matrix", "rounds": 10, "game": "stag_hunt"},
}


def milliseconds(work: Callable[[], object]) -> float:
    """Return the median time of some work."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)


def score(run: Run, episodes: list[Episode]) -> tuple[float, float]:
    """Score all replies; return the largest distances of log-probabilities and of draws."""

    def seed(episode: Episode, turn: Turn) -> int:
        own = [t.seq for t in episode.turns if t.agent == turn.agent]
        return key(episode.log.seed, episode.log.episode, turn.agent, own.index(turn.seq), 0)

    distance = shift = 0.0
    for name, lm in run.trainer.policies.items():
        for reply in score_replies(lm, episodes, run.trainer.seats_of(name), seed):
            own = episodes[reply.episode].turns[reply.decision].sample.behavior_logprobs
            distance = max(distance, *(abs(a - b) for a, b in zip(own, reply.logprobs, strict=True)))
            shift = max(shift, reply.shift)
    return distance, shift


def measure(world: str, folder: Path) -> None:
    """Print the row of a world."""
    settings = {"scenario": {"arena": WORLDS[world]}, "episodes": EPISODES, "out": folder / "run"}
    run = Run(RunConfig.model_validate(settings))
    episodes = collect(run.world, run._plans(), concurrency=EPISODES)
    distance, shift = score(run, episodes)
    rollout = milliseconds(lambda: collect(run.world, run._plans(), concurrency=EPISODES))
    everything = milliseconds(lambda: score(run, episodes))
    sample = milliseconds(lambda: score(run, episodes[::SAMPLED]))
    update = milliseconds(lambda: run.trainer.update(episodes))
    share = everything / (rollout + update + everything)
    columns = f"{rollout:.0f}, {update:.0f}, {everything:.0f}, {share:.1%}, {sample:.0f}, {distance:.1e}, {shift:.1e}"
    print(f"{world}, {columns}", flush=True)


def main() -> None:
    """Measure every world."""
    torch.set_num_threads(1)
    print("world, collect ms, update ms, all ms, share of the three, 1/8 ms, nats, shift", flush=True)
    for world in WORLDS:
        with TemporaryDirectory() as folder:
            measure(world, Path(folder))


if __name__ == "__main__":
    main()
