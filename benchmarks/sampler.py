"""Sampled tokens per second of marl.inference.sampler.generate over transformers' own `generate`.

Same model, prompts and lengths. Both sample from the full distribution at temperature 1 (top_k = 0, top_p = 1); ours
also returns exact log-probabilities.

    python benchmarks/sampler.py --batch 64 --prompt 32 --new 16
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch

from arenas.spec import say, symbols
from marl.context.transcript import Transcript
from marl.inference.request import GenerationRequest
from marl.inference.sampler import generate
from marl.models.tiny import tiny


def main() -> None:
    """Measure and print one JSON line per model size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--prompt", type=int, default=32)
    parser.add_argument("--new", type=int, default=16)
    parser.add_argument("--vocabulary", type=int, default=379)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    words = symbols("w", options.vocabulary)
    spec = say(words, options.new)
    prompts = torch.randint(5, options.vocabulary, (options.batch, options.prompt))
    for width, layers in ((64, 2), (128, 4)):
        lm = tiny(words, width=width, layers=layers, heads=4, context=256, init=0.1, seed=0).eval()
        place = lm.grammar(spec)[0]
        banned = (~lm.masks[place]).nonzero().flatten().tolist()
        ours, theirs = [], []
        for turn in range(options.rounds + 1):
            began = time.perf_counter()
            requests = []
            for row, prompt in enumerate(prompts.tolist()):
                transcript = Transcript(lm.encode)
                transcript.ids = prompt
                requests.append(GenerationRequest(transcript, spec, turn * options.batch + row))
            generate(lm, requests)
            middle = time.perf_counter()
            lm.model.generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                do_sample=True,
                top_k=0,
                top_p=1.0,
                temperature=1.0,
                min_new_tokens=options.new,
                max_new_tokens=options.new,
                suppress_tokens=banned,
            )
            end = time.perf_counter()
            if turn:
                ours.append(middle - began)
                theirs.append(end - middle)
        tokens = options.batch * options.new
        row_ = {
            "benchmark": "sampler",
            "batch": options.batch,
            "parameters": sum(p.numel() for p in lm.parameters()),
            "sabir_tokens_per_s": round(tokens / statistics.median(ours)),
            "generate_tokens_per_s": round(tokens / statistics.median(theirs)),
            "ratio": round(statistics.median(t / o for o, t in zip(ours, theirs, strict=True)), 2),
            "target": 1.5,
        }
        print(json.dumps(row_))


if __name__ == "__main__":
    main()
