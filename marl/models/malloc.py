"""How the C library hands out memory, where models learn."""

from __future__ import annotations

import ctypes
from typing import Final

TRIM, MMAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h
LARGEST: Final = 2**31 - 1
NEVER: Final = -1


def keep_freed_memory() -> bool:
    """Keep what is freed for what is allocated next; say whether the C library can (glibc).

    By default each tensor of more than 32 MB is fresh pages of the system, which are cleared at first touch: of half a
    gigabyte of gradients that was a third of an update. The process stays as large as it once was.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all([mallopt(MMAP, LARGEST), mallopt(TRIM, NEVER)])
