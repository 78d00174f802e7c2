"""Rollout tokens per second of the engine for pretrained models, over transformers' own `generate`, in one run.

Same model, prompts and lengths, bf16, sampling from the full distribution (top_k = 0, top_p = 1, temperature 1):

- rows: so many different prompts of random tokens, all new;
- groups: prompts of which `--group` rows each have the same one (GRPO);
- turns: a conversation of so many turns, keys and values kept, over generate that reads all of it again each turn.

    python benchmarks/llm.py --model smollm2 --rows 32 --prompt 128 --new 32
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from arenas.spec import say
from marl.context.transcript import Transcript
from marl.episode import Sample
from marl.inference.engine import Engine
from marl.inference.request import GenerationRequest
from marl.models.chat_model import ChatModel
from marl.models.pretrained import load_base
from marl.policy.config import HfPolicy, LoraSettings

ORDINARY = 1000
"""Random tokens are drawn from here on: all below are special or rare."""


def sampled(engine: Engine, lm: ChatModel, transcripts: list[Transcript], seed: int) -> int:
    """Sample a reply to every transcript and return how many tokens were drawn."""
    spec = say(("a",), 1, 1, free=10_000)
    samples: list[Sample] = []

    def done(sample: Sample | Exception) -> None:
        if isinstance(sample, Exception):
            raise sample
        samples.append(sample)

    for number, transcript in enumerate(transcripts):
        engine.ask(lm, GenerationRequest(transcript, spec, (seed << 16) + number, False, done), 0)
    while engine.run():
        pass
    return sum(len(sample.tokens) for sample in samples) - len(samples)  # the end was forced


def transcript(ids: list[int]) -> Transcript:
    history = Transcript()
    history.ids = list(ids)
    return history


def generated(lm: ChatModel, ids: torch.Tensor, new: int) -> torch.Tensor:
    """Let transformers sample so many tokens after each row."""
    sequences: torch.Tensor = lm.model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=True,
        top_k=0,
        top_p=1.0,
        temperature=1.0,
        min_new_tokens=new,
        max_new_tokens=new,
        pad_token_id=lm.eos,
    )
    return sequences


def unending(lm: ChatModel) -> None:
    """Make every reply just as long as asked: it may not end before."""
    for options, row in list(lm._options.items()):
        if options.any:
            lm.masks[row, lm.eos] = False


def compare(ours: Callable[[int], Any], theirs: Callable[[int], Any], rounds: int) -> tuple[float, float, float]:
    """Return the median seconds of each and of their ratio; the first round warms up."""
    times = []
    for turn in range(rounds + 1):
        began = time.perf_counter()
        ours(turn)
        middle = time.perf_counter()
        theirs(turn)
        times.append((middle - began, time.perf_counter() - middle))
    kept = times[1:]
    mine, other = (statistics.median(column) for column in zip(*kept, strict=True))
    return mine, other, statistics.median(b / a for a, b in kept)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2", help="what policy.hf takes")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--new", type=int, default=32)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--heard", type=int, default=48, help="tokens that come in between two turns")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=("rows", "groups", "turns"), default=None)
    return parser.parse_args()


def report(options: argparse.Namespace, name: str, rows: int, tokens: int, times: tuple[float, float, float]) -> None:
    """Print the JSON line of one comparison from its tokens, both medians in seconds and the median ratio."""
    ours, theirs, ratio = times
    line = {
        "benchmark": f"llm {name}",
        "rows": rows,
        "dtype": options.dtype,
        "sabir_tokens_per_s": round(tokens / ours, 1),
        "generate_tokens_per_s": round(tokens / theirs, 1),
        "ratio": round(ratio, 2),
        "target": 1.9 if name == "rows" else 3.0,
    }
    print(json.dumps(line), flush=True)


def main() -> None:
    """Measure and print one JSON line for each of the three."""
    options = arguments()
    torch.set_num_threads(options.threads)
    settings = HfPolicy(hf=options.model, lora=LoraSettings(), dtype=options.dtype, talk=options.new, rows=options.rows)
    base = load_base(options.model, settings, options.device)
    lm = ChatModel(base, None, lambda seat: "", settings)
    size = len(base.tokenizer)
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randint(ORDINARY, size, shape, generator=generator).to(options.device)

    def fresh(ids: torch.Tensor, turn: int) -> int:
        return sampled(Engine(base, options.rows), lm, [transcript(row) for row in ids.tolist()], turn)

    def rows(turn: int) -> None:
        tokens.append(fresh(prompts[turn], turn))

    def once(turn: int) -> None:
        generated(lm, prompts[turn], options.new)

    def conversation(turn: int) -> None:
        engine, talks = Engine(base, options.rows), [transcript(row) for row in prompts[turn].tolist()]
        for exchange in range(options.turns):
            tokens.append(sampled(engine, lm, talks, turn * 100 + exchange))
            for talk, more in zip(talks, heard[turn][exchange].tolist(), strict=True):
                talk.ids += more

    def again(turn: int) -> None:
        ids = prompts[turn]
        for exchange in range(options.turns):
            ids = torch.cat([generated(lm, ids, options.new), heard[turn][exchange]], 1)

    sampled(Engine(base, 1), lm, [transcript([*range(ORDINARY, ORDINARY + 8)])], 0)  # lays out the masks
    unending(lm)
    for name in ("rows", "groups", "turns"):
        if options.only not in (None, name):
            continue
        tokens: list[int] = []
        count = options.rows if name != "turns" else min(options.rows, 8)
        repeats = options.group if name == "groups" else 1
        prompts = [
            random(count // repeats, options.prompt).repeat_interleave(repeats, 0) for _ in range(options.rounds + 1)
        ]
        heard = [[random(count, options.heard) for _ in range(options.turns)] for _ in range(options.rounds + 1)]
        if name == "turns":
            mine, other, ratio = compare(conversation, again, options.rounds)
        else:
            mine, other, ratio = compare(rows, once, options.rounds)
        new = count * options.new * (options.turns if name == "turns" else 1)
        assert sum(tokens) == new * (options.rounds + 1), "replies of other lengths than asked for"
        report(options, name, count, new, (mine, other, ratio))


if __name__ == "__main__":
    main()
