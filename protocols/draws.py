"""Keyed randomness: a draw depends on where it happens, not on when.

The key of a draw holds its coordinates, for example (run seed, episode, agent, turn, token). So a draw does not change
when other draws are added, batched or skipped: a fork shares its random numbers with the episode that it came from, and
a run does not depend on how many episodes are played at once.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

GAMMA: Final = 0x9E3779B97F4A7C15  # the golden ratio in 64 bits, SplitMix64's increment
_SEPARATOR: Final = "\x1f"
_MASK: Final = 0xFFFFFFFFFFFFFFFF


def key(*coordinates: int | str) -> int:
    """Hash coordinates to 64 bits; `key(1, "a")`, `key("1", "a")` and `key("1a")` all differ."""
    # The separator is doubled inside a text, so that no text looks like two coordinates.
    parts = [f"{c}" if isinstance(c, int) else f"'{c}" if _SEPARATOR not in c else _doubled(c) for c in coordinates]
    text = _SEPARATOR.join(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")


def _doubled(text: str) -> str:
    return "'" + text.replace(_SEPARATOR, 2 * _SEPARATOR)


def mix(x: int) -> int:
    """Scramble 64 bits (SplitMix64's finalizer, Steele et al. 2014)."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def uniform(key: int, index: int = 0) -> float:
    """Return draw number `index` of a key, uniform in [0, 1) with 53 bits."""
    return (mix((key + (index + 1) * GAMMA) & _MASK) >> 11) * 2.0**-53


def below(n: int, key: int, index: int = 0) -> int:
    """Return draw number `index` of a key, uniform over 0..n-1."""
    return int(uniform(key, index) * n)
