"""Inverse-CDF sampling: keyed uniform numbers and logits in, tokens and their log-probabilities out."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from protocols.draws import GAMMA

BLOCK_TOKENS: Final = 256
"""`draw_blockwise` adds up the probabilities of this many tokens at a time, and then searches within one block."""


def uniforms(seeds: NDArray[np.uint64], count: int) -> NDArray[np.float64]:
    """Return the first `count` draws of each seed [B, count], equal to `protocols.draws.uniform`, vectorised."""
    with np.errstate(over="ignore"):
        x = seeds[:, None] + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GAMMA)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    draws: NDArray[np.float64] = (x >> np.uint64(11)).astype(np.float64) * 2.0**-53  # [B, count]
    return draws


def draw(logprobs: Tensor, u: Tensor) -> Tensor:
    """Invert the cumulative distribution at u [B] for log-probabilities [B, V]; return tokens [B].

    The sum runs over the whole vocabulary in float64: for the few words of a model from scratch.
    """
    cdf = logprobs.exp().cumsum(-1, dtype=torch.float64)  # [B, V]
    tokens = torch.searchsorted(cdf, (u * cdf[:, -1])[:, None], right=True).squeeze(-1)  # [B]
    beyond = tokens == logprobs.shape[-1]  # u so near 1 that rounding passed the last token
    return torch.where(beyond, logprobs.argmax(-1), tokens) if beyond.any() else tokens


def forbid(logits: Tensor, allowed: Tensor) -> None:
    """Set the logits [B, V] of forbidden tokens to -inf in place; `allowed` is [B, V], or [1, V] for all rows alike."""
    if len(allowed) < len(logits):  # add: filling through a mask that is broadcast over rows takes ten times as long
        logits += torch.zeros(allowed.shape, device=logits.device).masked_fill_(~allowed, -torch.inf)
    else:
        logits.masked_fill_(~allowed, -torch.inf)


def draw_blockwise(logits: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Invert the cumulative distribution at u [B] for logits [B, V]; -inf forbids a token.

    Probabilities are summed per block in float32 and over blocks in float64: for large vocabularies. The sums round
    differently from those of `draw`, so the two stay two functions.

    Returns:
        Tokens [B] and their exact log-probabilities [B].
    """
    top = logits.amax(-1, keepdim=True)  # [B, 1]
    p = pad((logits - top).exp_(), (0, -logits.shape[1] % BLOCK_TOKENS)).view(len(logits), -1, BLOCK_TOKENS)
    blocks = p.sum(-1).double()  # [B, blocks]
    ends = blocks.cumsum(-1)
    target = (u * ends[:, -1])[:, None]  # [B, 1]
    block = torch.searchsorted(ends, target, right=True).clamp_(max=blocks.shape[1] - 1)  # [B, 1]
    rest = target - (ends - blocks).gather(1, block)
    inner = p[torch.arange(len(p), device=p.device), block[:, 0]].double()  # [B, BLOCK_TOKENS]
    within = torch.searchsorted(inner.cumsum(-1), rest, right=True).clamp_(max=BLOCK_TOKENS - 1)
    tokens = (block * BLOCK_TOKENS + within)[:, 0].clamp_(max=logits.shape[1] - 1)  # [B]
    forbidden = logits.gather(1, tokens[:, None])[:, 0].isneginf()  # rounding passed the last allowed token
    if bool(forbidden.any()):
        tokens = torch.where(forbidden, logits.argmax(-1), tokens)
    logprobs = logits.gather(1, tokens[:, None])[:, 0] - top[:, 0] - ends[:, -1].log().float()
    return tokens, logprobs
