"""Rollout tokens per second of the whole platform over a bare torch loop that does the same token work.

The bare loop holds the same transcripts as plain integer tensors: one prefill and one pass per further token through
the same transformers model with its own DynamicCache, a masked inverse-CDF draw, and nothing else: no agents, no bus,
no log, no keyed randomness, and no reading of a common beginning once for all rows, as the platform does. Both are
timed in turn in one process; its ratio is the median over the rounds. Where the bare loop's memory comes to lie makes
it faster or slower for as long as a process lives, so there are several, and the ratio is the median over them. One
thread is what a run takes for tiny models; with more, the bare loop gains and the platform's Python does not.

    python benchmarks/rollout.py --width 128 --layers 4 --episodes 256
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import statistics
import time

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from marl.context.traces import trace
from marl.episode import Episode
from marl.inference.server import PolicyServer
from marl.models.language_model import LanguageModel
from marl.models.tiny import tiny
from marl.rollout import Plan, collect, raised_gc_threshold
from marl.scenario import ArenaConfig, Scenario, World


@torch.inference_mode()
def bare(lm: LanguageModel, prompts: Tensor, masks: list[Tensor]) -> Tensor:
    """Sample one reply for each row of prompts [B, T]; masks holds the [V] words allowed at each place."""
    cache = DynamicCache()
    inputs = prompts
    tokens = []
    for mask in masks:
        hidden = lm.model.base_model(input_ids=inputs, past_key_values=cache, use_cache=True).last_hidden_state[:, -1]
        logp = lm.logits(hidden).masked_fill(~mask, -torch.inf).log_softmax(-1)
        cdf = logp.exp().cumsum(-1)
        drawn = torch.searchsorted(cdf, torch.rand(len(cdf), 1) * cdf[:, -1:], right=True).clamp(max=len(mask) - 1)
        logp.gather(-1, drawn)
        tokens.append(drawn)
        inputs = drawn
    return torch.cat(tokens, 1)


def work(
    world: World, lms: dict[str, LanguageModel], episodes: list[Episode]
) -> list[tuple[str, Tensor, list[Tensor]]]:
    """Return, for every seat, the prompts the platform sampled from and the masks of its replies."""
    jobs = []
    for agent, lm in lms.items():
        traces = [trace(episode, agent, lm.open) for episode in episodes]
        prompts = torch.tensor([t.ids[: t.spans[0][0]] for t in traces])
        grammar = lm.grammar(world.arena.replies[agent][0])
        jobs.append((agent, prompts, [lm.masks[row] for row in grammar[:-1]]))
    return jobs


def measure(options: argparse.Namespace) -> tuple[float, float, int]:
    """Return tokens per second of the platform and of the bare loop, and the model's number of parameters."""
    torch.set_num_threads(options.threads)
    world = World(Scenario(arena=ArenaConfig(name="reconstruction")))
    shape = {"width": options.width, "layers": options.layers, "heads": 4, "context": 128, "init": 0.1}
    lms = {a: tiny(world.vocabulary, seed=i, **shape) for i, a in enumerate(world.agents)}
    servers = {a: PolicyServer(lm, a) for a, lm in lms.items()}

    def platform(turn: int) -> list[Episode]:
        plans = [Plan(f"{turn}-{i}", servers, 1) for i in range(options.episodes)]
        return collect(world, plans, concurrency=options.episodes)

    jobs = work(world, lms, platform(-1))
    gc.collect()
    gc.freeze()
    seconds: list[tuple[float, float]] = []
    with raised_gc_threshold():  # as in a run
        for turn in range(options.rounds + 1):
            began = time.perf_counter()
            episodes = platform(turn)
            middle = time.perf_counter()
            for agent, prompts, masks in jobs:
                bare(lms[agent], prompts, masks)
            seconds.append((middle - began, time.perf_counter() - middle))
    # Ends of replies are certain and cost neither side a pass, so they are not counted.
    tokens = sum(len(t.sample.tokens) - 1 for e in episodes for t in e.turns)
    ours, theirs = (tokens / statistics.median(each) for each in zip(*seconds[1:], strict=True))
    return ours, theirs, sum(p.numel() for p in lms[world.agents[0]].parameters())


def main() -> None:
    """Measure in one fresh process after another, and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--episodes", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--processes", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    measured = []
    for _ in range(options.processes):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            measured.append(pool.apply(measure, (options,)))
    ratios = [ours / theirs for ours, theirs, _ in measured]
    row = {
        "benchmark": "rollout",
        "episodes": options.episodes,
        "parameters": measured[0][2],
        "platform_tokens_per_s": round(statistics.median(ours for ours, _, _ in measured)),
        "bare_tokens_per_s": round(statistics.median(theirs for _, theirs, _ in measured)),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "target": 0.7,
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main()
