"""Processor time of the study on many messages: topographic similarity of sampled and of all pairs, and the rest.

    python benchmarks/study.py [--messages 10000]

Prints JSON lines: seconds of processor time, the value, and its interval. `all pairs` is for a tenth of the
messages, where all pairs are affordable, next to the sample for the same ones.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from marl.metrics.compositionality import Topography
from marl.metrics.information import permutation_null
from marl.study.data.corpus import MessageSample
from marl.study.language import summary as language

Words = tuple[str, ...]


def spoken(messages: int) -> tuple[list[Words], list[Words]]:
    """Meanings of four attributes; a message names each at its place in 7 of 10 cases, and two symbols are noise."""
    rng = np.random.default_rng(0)
    meant = rng.integers(10, size=(messages, 4))
    said = np.where(rng.random(meant.shape) < 0.7, meant, rng.integers(10, size=meant.shape))
    said = np.concatenate([said, rng.integers(10, size=(messages, 2))], 1)
    meanings = [tuple(f"{name}{value}" for name, value in zip("abcd", row, strict=True)) for row in meant]
    return meanings, [tuple(f"m{value}" for value in row) for row in said]


def timed(what: str, messages: int, work: Callable[[], dict[str, Any]]) -> None:
    begun = time.process_time()
    figures = work()
    print(json.dumps({"what": what, "messages": messages, "seconds": round(time.process_time() - begun, 2), **figures}))


def similarity(meanings: list[Words], messages: list[Words], most: int) -> dict[str, Any]:
    topography = Topography(meanings, messages, most=most)
    interval = topography.interval()
    ends = [round(interval.low, 4), round(interval.high, 4)] if interval else None
    return {"rho": round(topography.similarity() or 0, 4), "interval": ends, "pairs": topography.pairs}


def null(meanings: list[Words], messages: list[Words]) -> dict[str, Any]:
    topography = Topography(meanings, messages)
    figures = permutation_null(topography.similarity, topography.size)
    assert figures is not None
    return {"p": round(figures.null.p, 4), "chance": round(figures.null.mean, 4)}


def everything(meanings: list[Words], messages: list[Words]) -> dict[str, Any]:
    samples = [MessageSample(" ".join(x), m) for x, m in zip(meanings, messages, strict=True)]
    return {"measures": len(language.measure(samples).measures)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000)
    size = parser.parse_args().messages
    meanings, messages = spoken(size)
    few = size // 10
    timed("all pairs", few, lambda: similarity(meanings[:few], messages[:few], 10**9))
    timed("sampled pairs", few, lambda: similarity(meanings[:few], messages[:few], 50_000))
    timed("sampled pairs", size, lambda: similarity(meanings, messages, 50_000))
    timed("its permutation null", size, lambda: null(meanings, messages))
    timed("every measure", size, lambda: everything(meanings, messages))


if __name__ == "__main__":
    main()
