"""Optimizer steps of several models at once, one thread each."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def side_by_side(steps: Sequence[Callable[[], T]]) -> list[T]:
    """Take steps of models that share no weights at the same time, one thread each; return their results.

    torch releases the interpreter's lock while it computes, and models too small for several threads each gain from
    this. With more than one torch thread, or on a single core, the steps follow one another.
    """
    if len(steps) == 1 or torch.get_num_threads() > 1 or cores() == 1:
        return [step() for step in steps]
    with ThreadPoolExecutor(len(steps)) as pool:
        return [future.result() for future in [pool.submit(step) for step in steps]]
