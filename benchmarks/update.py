"""Update tokens per second of PolicyGradientTrainer over a bare forward and backward pass on the same tokens.

The bare side runs each policy and the critic once, forward and backward, over tensors made beforehand: cross-entropy of
the trained tokens for the policies, mean squared error at the same points for the critic, one Adam step each, one model
after the other. It lays nothing out, computes no credit and keeps no metrics.

    python benchmarks/update.py --width 128 --layers 4 --episodes 256
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from marl.policy.config import TinyPolicy
from marl.rollout import Plan, collect
from marl.scenario import ArenaConfig, Scenario
from trainers.algorithm import AlgorithmConfig
from trainers.algorithms.mappo import PolicyGradientTrainer
from trainers.batch import collate
from trainers.run import Run, RunConfig


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--episodes", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Measure and print one JSON line."""
    options = parse()
    config = RunConfig(
        scenario=Scenario(arena=ArenaConfig(name="reconstruction")),
        policy=TinyPolicy(width=options.width, layers=options.layers),
        algorithm=AlgorithmConfig(critic_width=options.width, critic_layers=options.layers),
        threads=options.threads,
    )
    run = Run(config)
    trainer = run.trainer
    assert isinstance(trainer, PolicyGradientTrainer)
    assert trainer.critic is not None
    plans = [Plan(f"{i}", run.seats, 1) for i in range(options.episodes)]
    episodes = collect(run.world, plans, concurrency=options.episodes)
    zeros = np.zeros((len(episodes), 2))
    batches = {name: collate(lm, episodes, [name], zeros) for name, lm in trainer.policies.items()}
    reading = trainer.critic.read(episodes)
    goal = torch.rand(len(reading.row))

    def bare() -> None:
        for name, batch in batches.items():
            lm = trainer.policies[name]
            hidden = lm.model.base_model(input_ids=batch.ids[:, :-1], use_cache=False).last_hidden_state
            at = batch.trained
            cross_entropy(lm.logits(hidden[at[:, 1:]]), batch.ids[at]).backward()  # type: ignore[no-untyped-call]
            trainer.optimizers[name].step()
            trainer.optimizers[name].zero_grad()
        assert trainer.critic is not None
        (trainer.critic(reading) - goal).square().mean().backward()
        trainer.optimizers["critic"].step()
        trainer.optimizers["critic"].zero_grad()

    gc.collect()
    gc.freeze()
    seconds: dict[str, list[float]] = {"update": [], "bare": []}
    for turn in range(options.rounds + 1):
        began = time.perf_counter()
        trainer.update(episodes)
        middle = time.perf_counter()
        bare()
        end = time.perf_counter()
        if turn:
            seconds["update"].append(middle - began)
            seconds["bare"].append(end - middle)
    tokens = sum(b.ids.numel() for b in batches.values()) + reading.ids.numel()
    row = {
        "benchmark": "update",
        "episodes": options.episodes,
        "parameters": sum(p.numel() for p in trainer.policies["speaker_0"].parameters()),
        "update_tokens_per_s": round(tokens / statistics.median(seconds["update"])),
        "bare_tokens_per_s": round(tokens / statistics.median(seconds["bare"])),
        "ratio": round(statistics.median(b / u for u, b in zip(seconds["update"], seconds["bare"], strict=True)), 3),
        "target": 0.8,
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main()
