"""Evaluation: greedy episodes over every deal of an arena, or over a fixed sample of seeds unused in training."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Any, Final

import numpy as np

from marl.episode import Episode, Stop
from marl.evaluation import traffic
from marl.policy.base import Seats
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.scenario.world import World
from protocols.draws import key

MOST_CASES: Final = 4096
SAMPLE: Final = 256


def plans(world: World, seats: Seats, seed: int, episodes: int = SAMPLE, most: int | None = None) -> list[Plan]:
    """Plan greedy episodes: each deal of each split once if deals can be counted, else `episodes` random ones.

    Where channels or interventions draw too, each deal is played again until there are `episodes` of a split.

    Args:
        world: to play in.
        seats: the policies.
        seed: of the run; evaluations have draws of their own.
        episodes: of each split, where deals cannot be counted or channels draw.
        most: at most so many deals of each split, drawn without replacement, and so many episodes.
    """
    seed = key(seed, "evaluation")
    splits = world.arena.splits()
    countable = bool(splits) and sum(map(len, splits.values())) <= MOST_CASES
    if most is not None:
        splits = {split: _sample(cases, most, key(seed, "deals", split)) for split, cases in splits.items()}
        episodes = most
    chance = bool(world.scenario.interventions) or any(channel.effects for channel in world.channels.values())
    if countable:
        return [
            Plan(f"eval-{split}-{case}{f'-{again}' * (again > 0)}", seats, seed, {"case": case, "split": split}, True)
            for split, cases in splits.items()
            for again in range(max(ceil(episodes / len(cases)), 1) if chance else 1)
            for case in cases
        ]
    return [
        Plan(f"eval-{split}-{i}", seats, seed, {"split": split}, greedy=True)
        for split in (splits or ["train"])
        for i in range(episodes)
    ]


def _sample(cases: Sequence[int], most: int, seed: int) -> Sequence[int]:
    """Return at most so many of the cases, in their order."""
    if len(cases) <= most:
        return cases
    chosen = np.random.default_rng(seed).choice(len(cases), most, replace=False)
    return [cases[i] for i in sorted(chosen.tolist())]


def run(
    world: World,
    seats: Seats,
    seed: int,
    episodes: int = SAMPLE,
    *,
    most: int | None = None,
    concurrency: int = 256,
    watch: Callable[[int, int], None] | None = None,
) -> list[Episode]:
    """Play the evaluation episodes; `watch` is told how many are over, of how many."""
    planned = plans(world, seats, seed, episodes, most)
    return collect(world, planned, concurrency=concurrency, done=counter(watch, len(planned)))


def counter(watch: Callable[[int, int], None] | None, total: int) -> Callable[[Episode], None] | None:
    """Return a callback for finished episodes that passes their number on, and the total."""
    if watch is None:
        return None
    number = itertools.count(1)
    return lambda _: watch(next(number), total)


def succeeded(world: World, episodes: Sequence[Episode]) -> float | None:
    """Return the share of episodes whose score reaches the optimum; None if it is unknown, or any play reaches it."""
    full = world.anchors.full
    if full is None or full == world.anchors.random:
        return None
    return float(np.mean([episode.score >= full - 1e-9 for episode in episodes]))


def summarise(world: World, episodes: Sequence[Episode]) -> dict[str, Any]:
    """Return score, its standard error, success rate and communication gain, per split; with anchors and traffic.

    An episode's score is the mean over agents of their returns, which are reported too; an episode succeeds when its
    score reaches the optimum. Figures that need an anchor the arena does not have are None.
    """
    anchors = world.anchors
    result: dict[str, Any] = {
        "anchors": {name: getattr(anchors, name) for name in ("random", "silent", "full", "equilibrium")},
        "errors": sum(episode.stop is Stop.ERROR for episode in episodes),
    }
    names = sorted({episode.log.deal.get("split", "train") for episode in episodes}, key=lambda s: (s != "train", s))
    for split in names:
        chosen = [episode for episode in episodes if episode.log.deal.get("split", "train") == split]
        scores = np.array([episode.score for episode in chosen])
        mean = float(scores.mean())
        result[split] = {
            "episodes": len(scores),
            "score": mean,
            "standard_error": float(scores.std(ddof=1) / len(scores) ** 0.5) if len(scores) > 1 else 0.0,
            "success": succeeded(world, chosen),
            "communication_gain": anchors.communication_gain(mean),
            "returns": dict(zip(world.agents, np.mean([e.returns for e in chosen], 0).tolist(), strict=True)),
        }
    result["traffic"] = traffic.count(world, episodes).figures()
    return result


def splits(result: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the results of each split from a result of `summarise`."""
    return {name: figures for name, figures in result.items() if name not in ("anchors", "errors", "traffic")}
