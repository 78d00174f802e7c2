"""Scores of readers with different memories on a text far longer than their context.

Each reader is trained as `examples/document.toml` says, on texts of 1 to 4 chunks, with its own kind of memory, until
it names the code's colour in 99 of 100 texts, or its updates are over; all but `overwrite` begin with texts of one
chunk (`BEGIN`). Then it reads longer ones. As JSON lines: its score by the number of chunks (chance: 0.25), the longest
context it had in tokens, and how long a context that held everything would have been.

    python benchmarks/memory.py [--memories overwrite,state,retrieval,window] [--seeds 1,2,3] [--updates 200]
        [--texts 200] [SETTING=VALUE ...]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from marl.context.traces import traces
from marl.episode import Episode
from marl.models.language_model import LanguageModel
from marl.rollout import Plan, collect
from marl.scenario import Scenario, World
from marl.settings import override, put, read_toml
from trainers.run import Run, RunConfig

EXAMPLE: Final = Path(__file__).parents[1] / "examples/document.toml"
CHUNKS: Final = (4, 10, 40, 160)
WRITTEN: Final = ("overwrite", "state")
BEGIN: Final[dict[str, Any]] = {
    "episodes": 256,
    "curriculum": {"parameter": "chunks", "start": 1, "up": 0.9, "patience": 2},
}
"""A state that is all an agent has is learned if what is written matters at once."""


def settings(memory: str, seed: int, updates: int, out: str, more: Sequence[str]) -> dict[str, Any]:
    settings_of_run = override({**read_toml(EXAMPLE), **({} if memory == "overwrite" else BEGIN)}, more)
    if memory not in WRITTEN:
        settings_of_run["scenario"]["memory"]["reader_0"] = {"type": memory}
    else:
        settings_of_run = put(settings_of_run, "scenario.memory.reader_0.type", memory)
    for name, value in {"seed": seed, "updates": updates, "checkpoint_every": updates, "out": out}.items():
        settings_of_run = put(settings_of_run, name, value)
    return settings_of_run


def longer(scenario: dict[str, Any], chunks: int) -> World:
    return World(Scenario.model_validate(put(put(scenario, "arena.chunks", chunks), "arena.least", 0)))


def context(episodes: Sequence[Episode], lm: LanguageModel) -> int:
    """Return the most tokens that the reader had before it."""
    return max(len(part.ids) for episode in episodes for part in traces(episode, ["reader_0"], lm.open))


def measure(memory: str, seed: int, updates: int, texts: int, more: Sequence[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        settings_of_run = settings(memory, seed, updates, f"{folder}/run", more)
        run = Run(RunConfig.model_validate(settings_of_run))
        began = perf_counter()
        summary = run.train()
        seconds = perf_counter() - began
        lm = next(iter(run.servers.values())).lm
        scores: dict[str, float] = {}
        longest: dict[str, int] = {}
        whole: dict[str, int] = {}
        for chunks in CHUNKS:
            world = longer(settings_of_run["scenario"], chunks)
            plans = [Plan(f"long-{chunks}-{i}", run.seats, seed, greedy=True) for i in range(texts)]
            episodes = collect(world, plans)
            scores[str(chunks)] = sum(episode.score for episode in episodes) / texts
            longest[str(chunks)] = context(episodes[:20], lm)
            for episode in episodes[:20]:
                episode.log.scenario = {**episode.log.scenario, "memory": {}}
            whole[str(chunks)] = context(episodes[:20], lm)
    return {
        "memory": memory,
        "seed": seed,
        "updates": summary["updates"],
        "seconds": round(seconds, 1),
        "score": scores,
        "context_tokens": longest,
        "whole_text_tokens": whole,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memories", default="overwrite,state,retrieval,window")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("more", nargs="*", metavar="SETTING=VALUE")
    options = parser.parse_intermixed_args()
    for memory in options.memories.split(","):
        for seed in options.seeds.split(","):
            row = measure(memory, int(seed), options.updates, options.texts, options.more)
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
