"""Channel capacity in bits per symbol: closed forms for symmetric channels, Blahut-Arimoto for all others.

A channel is its law p(y | x): the probability of output y for input symbol x.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from math import log2
from typing import TypeVar

from protocols.errors import ProtocolError

Y = TypeVar("Y", bound=Hashable)


def symmetric(q: int, p: float) -> float:
    """C = log2 q + (1-p) log2 (1-p) + p log2 (p / (q-1)): each of q symbols becomes another one with probability p.

    (Cover & Thomas 2006, section 7.2; the input that reaches it is uniform.)
    """
    if q < 2:
        return 0.0
    kept = (1 - p) * log2(1 - p) if p < 1 else 0.0
    changed = p * log2(p / (q - 1)) if p > 0 else 0.0
    return max(log2(q) + kept + changed, 0.0)


def erasure(q: int, p: float) -> float:
    """C = (1-p) log2 q: each of q symbols is erased with probability p, and the listener sees the erasure."""
    return (1 - p) * log2(q) if q > 1 else 0.0


def in_series(q: int, first: float, second: float) -> float:
    """Return the error probability of two q-ary symmetric channels, one after the other: p + p' - p p' q / (q-1)."""
    return first + second - first * second * q / (q - 1) if q > 1 else 0.0


def blahut_arimoto(
    law: Sequence[Mapping[Y, float]], *, tolerance: float = 1e-9, most: int = 100_000
) -> tuple[float, list[float]]:
    """Return C = max_r I(X; Y) in bits and the input distribution r that comes within `tolerance` of it.

    law[x][y] = p(y | x), with sums of 1. Each step moves r towards the most informative inputs,

        D(x) = sum_y p(y|x) log2 (p(y|x) / q(y)),    q(y) = sum_x r(x) p(y|x),    r(x) <- r(x) 2^D(x) / 2^L,

    and L = log2 sum_x r(x) 2^D(x) <= C <= max_x D(x) bounds the error (Blahut 1972; Arimoto 1972). Raises
    ProtocolError if `most` steps do not reach it.
    """
    if not law:
        return 0.0, []
    r = [1 / len(law)] * len(law)
    for _ in range(most):
        q: dict[Y, float] = {}
        for weight, row in zip(r, law, strict=True):
            for y, p in row.items():
                q[y] = q.get(y, 0.0) + weight * p
        divergences = [sum(p * log2(p / q[y]) for y, p in row.items() if p > 0 and q[y] > 0) for row in law]
        gained = [weight * 2.0**d for weight, d in zip(r, divergences, strict=True)]
        lower = log2(sum(gained))
        if max(divergences) - lower <= tolerance:
            return max(lower, 0.0), r
        r = [gain / 2.0**lower for gain in gained]
    raise ProtocolError(f"Blahut-Arimoto is not within {tolerance:g} bits after {most} steps: allow a larger tolerance")


def of_messages(symbols: Sequence[float], lengths: Sequence[int], arrives: float = 1.0) -> float:
    """Return the capacity in bits of a message with C_j = symbols[j] bits at position j, and one of `lengths`.

    The listener sees the length of a message if it arrives (probability a = arrives), so the length informs it too:
    max over p(n) of a H(n) + sum_n p(n) (C_1 + ... + C_n), which is a log2 sum_n 2^((C_1 + ... + C_n) / a).
    """
    if arrives <= 0:
        return 0.0
    exponents = [sum(symbols[:n]) / arrives for n in sorted(set(lengths))]
    top = max(exponents, default=0.0)
    return arrives * (top + log2(sum(2 ** (bits - top) for bits in exponents))) if exponents else 0.0
