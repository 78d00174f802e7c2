"""Task of llm_peers.py: prompts, rewards and weights that Sabir and its peers share (not a benchmark)."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

PROMPT, NEW, READ = 128, 32, 84
"""Tokens of a random prompt, tokens of a reply, words of a prompt of chat (SmolLM2 makes 128 tokens of it)."""
ROWS: Final = 32
SHAPES: Final = {"grpo": (1, 8), "grpo_lora": (1, 8), "magrpo": (2, 4), "magrpo_lora": (2, 4)}
"""Agents, and joint episodes of a step."""
LR, RANK = 1e-6, 8
Rollout = Callable[[Sequence[list[int]]], int]
"""Prompts -> the number of tokens drawn after them."""


def reward(texts: Sequence[str]) -> float:
    return sum(map(len, texts)) / 1000


def essays() -> Any:
    """Register an arena whose agents are shown some words each, and write what they like."""
    import arenas
    from arenas import Anchors, Arena, Outcome
    from arenas.games.text.writing import PLAIN
    from arenas.spec import Words, say

    shown = tuple(sorted(PLAIN))

    class Essays(Arena):
        metadata = Arena.metadata | {"name": "essays_v0"}
        tags = ("cooperative",)
        rules = "Write what comes to your mind about the words you are shown."

        def __init__(self, agents: int = 1) -> None:
            seats = [f"writer_{i}" for i in range(agents)]
            super().__init__(dict.fromkeys(seats, say(("a",), 1, free=10_000)), shown, view_words=READ)

        def deal(self, rng: Any, split: str) -> None:
            self.read = {seat: [shown[i] for i in rng.integers(len(shown), size=READ)] for seat in self.replies}

        def acting(self) -> tuple[str, ...]:
            return tuple(self.replies)

        def view(self, agent: str) -> str:
            return " ".join(self.read[agent])

        def resolve(self, replies: Mapping[str, Words]) -> Outcome:
            score = reward([" ".join(words) for words in replies.values()])
            return Outcome(dict.fromkeys(self.replies, score), done=True)

        def hidden(self) -> str:
            return ""

        def anchors(self) -> Anchors:
            return Anchors(0.0, 0.0, 10.0)

    arenas.ARENAS["essays"] = Essays


def configured(race: str, model: str, folder: Path, threads: int) -> dict[str, Any]:
    agents, episodes = SHAPES[race]
    return {
        "scenario": {"arena": {"name": "essays", "agents": agents}},
        "out": str(folder / f"run-{race}"),
        "updates": 10**6,
        "episodes": episodes,
        "evaluate_every": 10**6,
        "checkpoint_every": 10**6,
        "threads": threads,
        "policy": {"hf": model, "talk": NEW, **({"lora": {"rank": RANK}} if "lora" in race else {})},
        "algorithm": {"type": "magrpo", "group": episodes, "lr": LR, "entropy": {"settled": 0.0}},
    }


def prepare(model: str, rounds: int, folder: Path) -> None:
    """Write where the weights are, the prompts, and the weights for llama.cpp."""
    from transformers import AutoTokenizer

    from marl.models.pretrained import find, shipped

    place, files = find(model), shipped(model)
    tokenizer = AutoTokenizer.from_pretrained(place)
    draw, size = random.Random(1), len(tokenizer)
    task: dict[str, Any] = {race: asked(race, model, tokenizer, rounds, folder) for race in SHAPES}
    task["rows"] = [[draw.choices(range(1000, size), k=PROMPT) for _ in range(ROWS)] for _ in range(rounds)]
    task["model"] = str(place)
    if files:
        task["gguf"] = str(files[0])
        widen(files[0], folder / "bf16.gguf")
    (folder / "given.json").write_text(json.dumps(task))


def asked(race: str, model: str, tokenizer: Any, rounds: int, folder: Path) -> list[list[dict[str, Any]]]:
    """Return what the agents of a run will be asked in each round, as it is dealt whoever plays."""
    from marl.context.chat import ChatTranscript
    from marl.context.chat_template import Template
    from marl.models.pretrained import system_prompt
    from marl.policy import Random
    from marl.policy.config import HfPolicy
    from marl.rollout import Plan, collect
    from marl.scenario import Scenario, World

    essays()
    world = World(Scenario.model_validate(configured(race, model, folder, 0)["scenario"]))
    template, about = Template(tokenizer, model), system_prompt(world.about, HfPolicy(hf=model))
    plans = [Plan(f"train-{i}-0", dict.fromkeys(world.agents, Random()), seed=1) for i in range(rounds)]
    rows = []
    for episode in collect(world, plans):
        row = []
        for seat in world.agents:
            transcript = ChatTranscript(template, about)
            transcript.hear(next(envelope for envelope in episode.log.view(seat) if envelope.sender != seat))
            transcript.ask()
            row.append({"ids": transcript.ids, "text": transcript.text})
        rows.append(row)
    return rows


def widen(source: Path, target: Path) -> None:
    """Write a quantized GGUF file with its matrices in bf16."""
    import gguf

    reader, writer = gguf.GGUFReader(source), gguf.GGUFWriter(target, "llama")
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":  # the writer's own
            continue
        value = gguf.LlamaFileType.MOSTLY_BF16 if name == "general.file_type" else field.contents()
        writer.add_key_value(name, value, *field.types[:2])
    bf16 = gguf.GGMLQuantizationType.BF16
    for tensor in reader.tensors:
        wide = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if wide.ndim == 1:
            writer.add_tensor(tensor.name, wide)
        else:
            writer.add_tensor(tensor.name, gguf.quants.quantize(wide, bf16), raw_dtype=bf16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
