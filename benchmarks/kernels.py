"""The CPU kernels for pretrained models in bf16, over torch's own: attention of short sequences, prepacked matrices.

Each JSON line has the time of both and their ratio, medians of runs in turn. benchmarks/llm.py measures the engine and
the Llama pass that they serve.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from statistics import median
from time import perf_counter
from unittest.mock import patch

import torch
from torch import Tensor, nn

from marl.models import attention
from marl.models.attention import attend, sight
from marl.models.packed_linear import Packed, packable, plain

HEADS, KV_HEADS, HEAD_WIDTH = 9, 3, 64  # of SmolLM2-135M
WIDTH, INNER = 576, 1536


def compare(what: str, own: Callable[[], object], torchs: Callable[[], object], runs: int) -> None:
    """Time both in turn, and print a JSON line."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs):
        for seconds, call in zip(times, (own, torchs), strict=True):
            begin = perf_counter()
            call()
            seconds.append(perf_counter() - begin)
    mine, theirs = (1e6 * median(seconds[runs // 5 :]) for seconds in times)
    line = {"benchmark": "kernels", "what": what, "own_us": round(mine, 1), "torch_us": round(theirs, 1)}
    print(json.dumps(line | {"ratio": round(theirs / mine, 2)}), flush=True)


def attention_of(queries: int, keys: int, rows: int, runs: int) -> None:
    """Compare attention of `rows` sequences with so many queries and keys."""
    q = torch.randn(rows, HEADS, queries, HEAD_WIDTH).bfloat16()
    k, v = (torch.randn(rows, KV_HEADS, keys, HEAD_WIDTH).bfloat16() for _ in range(2))
    places = torch.arange(keys - queries, keys)[None, None, :, None]  # [1, 1, q, 1]
    visible = (torch.arange(keys) <= places).expand(rows, -1, -1, -1)
    x = torch.zeros(rows, queries, 1)
    seen = sight(visible, x, torch.bfloat16, HEADS, KV_HEADS)
    with patch.object(attention, "MAX_SCORES", 0):
        other = sight(visible, x, torch.bfloat16, HEADS, KV_HEADS)
    compare(
        f"attention {queries} x {keys}, {rows} rows",
        lambda: attend(q, k, v, seen),
        lambda: attend(q, k, v, other),
        runs,
    )


def linear_of(rows: int, runs: int) -> None:
    """Compare the products of one layer's matrices with so many rows."""
    shapes = ((WIDTH, WIDTH), (WIDTH, INNER), (INNER, WIDTH))
    layers = [nn.Linear(a, b, bias=False).bfloat16() for a, b in shapes]
    inputs: list[Tensor] = [torch.randn(rows, 1, layer.in_features).bfloat16() for layer in layers]
    packed = Packed()

    def by(affine: Callable[[Tensor, list[nn.Linear]], list[Tensor]]) -> None:
        for x, layer in zip(inputs, layers, strict=True):
            affine(x, [layer])

    compare(f"linear, {rows} rows", lambda: by(packed), lambda: by(plain), runs)


@torch.inference_mode()
def main() -> None:
    """Measure, if oneDNN multiplies in bf16 here."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    options = parser.parse_args()
    if not packable(torch.device("cpu"), torch.bfloat16):
        print(json.dumps({"benchmark": "kernels", "skipped": "oneDNN does not multiply in bf16 on this processor"}))
        return
    for queries, keys, rows in ((1, 256, 16), (64, 64, 16), (32, 256, 8)):
        attention_of(queries, keys, rows, options.runs)
    for rows in (1, 4, 64):
        linear_of(rows, options.runs)


if __name__ == "__main__":
    main()
