"""Hand-made languages whose scores theory knows."""

from __future__ import annotations

from itertools import product
from typing import Final

import numpy as np

from marl.study.data.corpus import MessageSample

Words = tuple[str, ...]
MEANINGS: Final[list[Words]] = list(product([f"a{i}" for i in range(4)], [f"b{i}" for i in range(4)]))
COMPOSITIONAL: Final[list[Words]] = [(f"m{a[1]}", f"n{b[1]}") for a, b in MEANINGS]
SHARED_SYMBOLS: Final[list[Words]] = [(f"m{a[1]}", f"m{b[1]}") for a, b in MEANINGS]
"""Compositional, with one alphabet for both positions."""
BAG: Final[list[Words]] = [m if i % 5 % 2 else m[::-1] for i, m in enumerate(COMPOSITIONAL)]
"""Permutation-invariant: a symbol means the same wherever it stands."""
HOLISTIC: Final[list[Words]] = [COMPOSITIONAL[i] for i in np.random.default_rng(5).permutation(16)]
"""The messages of the compositional language, dealt to meanings at random."""
CONSTANT: Final[list[Words]] = [("m0", "m0")] * 16
SILENT: Final[list[Words]] = [()] * 16
DEGENERATE: Final[list[Words]] = [(f"m{a[1]}", "m0") for a, _ in MEANINGS]
"""Speaks of the first attribute only."""
LANGUAGES: Final = {
    "compositional": COMPOSITIONAL,
    "shared symbols": SHARED_SYMBOLS,
    "bag": BAG,
    "holistic": HOLISTIC,
    "constant": CONSTANT,
    "silent": SILENT,
    "degenerate": DEGENERATE,
}


def spoken(messages: list[Words], meanings: list[Words] = MEANINGS) -> list[MessageSample]:
    return [MessageSample(" ".join(x), m) for x, m in zip(meanings, messages, strict=True)]


def synonymous() -> list[MessageSample]:
    """Each meaning has two messages that differ in a third symbol without meaning."""
    return [
        MessageSample(" ".join(x), (*m, f"o{k}"))
        for k in range(2)
        for x, m in zip(MEANINGS, COMPOSITIONAL, strict=True)
    ]
