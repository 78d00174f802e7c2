"""How much a channel lets through: closed forms where there are any, Blahut-Arimoto everywhere else. In bits a symbol.

A channel is given by its law p(y | x): what comes out for each symbol that goes in.
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
    """C = (1-p) log2 q: each of q symbols is erased with probability p, and the listener sees that it was."""
    return (1 - p) * log2(q) if q > 1 else 0.0


def in_series(q: int, first: float, second: float) -> float:
    """Return the error probability of two q-ary symmetric channels, one after the other: p + p' - p p' q / (q-1)."""
    return first + second - first * second * q / (q - 1) if q > 1 else 0.0


def blahut_arimoto(
    law: Sequence[Mapping[Y, float]], *, tolerance: float = 1e-9, most: int = 100_000
) -> tuple[float, list[float]]:
    """Return C = max_r I(X; Y) in bits and the input distribution r that comes within `tolerance` of it.

    law[x][y] = p(y | x), with sums of 1. Each step moves r towards the inputs that tell most,

        D(x) = sum_y p(y|x) log2 (p(y|x) / q(y)),    q(y) = sum_x r(x) p(y|x),    r(x) <- r(x) 2^D(x) / 2^L,

    and L = log2 sum_x r(x) 2^D(x) <= C <= max_x D(x) says how near it is (Blahut 1972; Arimoto 1972). Raises
    ProtocolError if `most` steps do not get there.
    """
    if not law:
        return 0.0, []
    r = [1 / len(law)] * len(law)
    for _ in range(most):
        q: dict[Y, float] = {}
        for weight, row in zip(r, law, strict=True):
            for y, p in row.items():
                q[y] = q.get(y, 0.0) + weight * p
        told = [sum(p * log2(p / q[y]) for y, p in row.items() if p > 0 and q[y] > 0) for row in law]
        gained = [weight * 2.0**d for weight, d in zip(r, told, strict=True)]
        lower = log2(sum(gained))
        if max(told) - lower <= tolerance:
            return max(lower, 0.0), r
        r = [gain / 2.0**lower for gain in gained]
    raise ProtocolError(f"Blahut-Arimoto is not within {tolerance:g} bits after {most} steps: allow a larger tolerance")


def of_messages(symbols: Sequence[float], lengths: Sequence[int], arrives: float = 1.0) -> float:
    """Return the capacity in bits of a message with C_j = symbols[j] bits at place j, and any of some lengths.

    The listener sees how long a message is, if one arrives at all (a = arrives), so the length tells something too:
    max over p(n) of a H(n) + sum_n p(n) (C_1 + ... + C_n), which is a log2 sum_n 2^((C_1 + ... + C_n) / a).
    """
    if arrives <= 0:
        return 0.0
    known = [sum(symbols[:n]) / arrives for n in sorted(set(lengths))]
    top = max(known, default=0.0)
    return arrives * (top + log2(sum(2 ** (bits - top) for bits in known))) if known else 0.0
