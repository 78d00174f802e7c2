"""Tune glibc's malloc for training: keep freed memory instead of returning it to the system."""

from __future__ import annotations

import ctypes
from typing import Final

TRIM, MMAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h
LARGEST: Final = 2**31 - 1
NEVER: Final = -1


def keep_freed_memory() -> bool:
    """Reuse freed memory for later allocations; return whether the C library can (glibc).

    By default each tensor above 32 MB gets new pages from the system, which are cleared at first touch: with half a
    gigabyte of gradients that took a third of an update. The process never shrinks.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all([mallopt(MMAP, LARGEST), mallopt(TRIM, NEVER)])
