"""Raised threshold of Python's garbage collector, for as long as episodes are collected."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

THRESHOLD: Final = 100_000
"""New objects between two collections of the youngest generation; Python's own number is 700."""


@contextmanager
def raised_gc_threshold() -> Iterator[None]:
    """Raise the GC threshold of the process: the objects of an episode are all reachable until it ends.

    On leaving, the threshold is what it was before. A collector that is switched off stays so.
    """
    young, *older = gc.get_threshold()
    gc.set_threshold(max(young, THRESHOLD) if young else 0, *older)
    try:
        yield
    finally:
        gc.set_threshold(young, *older)
