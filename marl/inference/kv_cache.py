"""What the engine works on: keys and values of the rows in progress in one block, and draws from large vocabularies."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers.cache_utils import Cache

BLOCK: Final = 256
"""Tokens of the vocabulary whose probabilities are added up before a draw looks among them."""
STEP: Final = 128
"""Columns by which the block of keys and values grows."""


class Kept(NamedTuple):
    """Keys and values of one transcript: [2 layers, heads, n, d], of these weights."""

    table: Tensor
    version: int


def forbid(logits: Tensor, allowed: Tensor) -> None:
    """Set the logits [B, V] of tokens that are not allowed [B, V], or [1, V] for all rows alike, to -inf."""
    if len(allowed) < len(logits):  # added, because a mask that is spread over rows fills them ten times as slowly
        logits += torch.zeros(allowed.shape, device=logits.device).masked_fill_(~allowed, -torch.inf)
    else:
        logits.masked_fill_(~allowed, -torch.inf)


def draw(logits: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Invert the cumulative distribution at u [B], over blocks and then within one; logits [B, V], -inf: forbidden.

    Returns tokens [B] and their exact log-probabilities [B].
    """
    top = logits.amax(-1, keepdim=True)
    p = pad((logits - top).exp_(), (0, -logits.shape[1] % BLOCK)).view(len(logits), -1, BLOCK)
    blocks = p.sum(-1).double()
    ends = blocks.cumsum(-1)
    target = (u * ends[:, -1])[:, None]
    block = torch.searchsorted(ends, target, right=True).clamp_(max=blocks.shape[1] - 1)
    rest = target - (ends - blocks).gather(1, block)
    inner = p[torch.arange(len(p), device=p.device), block[:, 0]].double()
    within = torch.searchsorted(inner.cumsum(-1), rest, right=True).clamp_(max=BLOCK - 1)
    tokens = (block * BLOCK + within)[:, 0].clamp_(max=logits.shape[1] - 1)
    wrong = logits.gather(1, tokens[:, None])[:, 0].isneginf()  # rounding passed the end of what is allowed
    if bool(wrong.any()):
        tokens = torch.where(wrong, logits.argmax(-1), tokens)
    logp = logits.gather(1, tokens[:, None])[:, 0] - top[:, 0] - ends[:, -1].log().float()
    return tokens, logp


class Slots(Cache):  # type: ignore[misc]
    """Keys and values of the rows in progress, [2 layers, rows, heads, T, d], seen through the rows of one pass."""

    def __init__(self, layers: int) -> None:
        super().__init__(layers=[])
        self.layers_held = layers
        self.table: Tensor | None = None
        self.want = (0, 0)
        self.first = 0
        self.rows = self.positions = torch.zeros(0)
        self.upto = 0
        self.chosen: Tensor | None = None

    def reserve(self, rows: int, length: int) -> None:
        """Make room for so many rows and columns; what is there stays."""
        self.want = (max(rows, self.want[0]), max(length + (-length) % STEP, self.want[1]))
        if self.table is not None and (self.table.shape[1], self.table.shape[3]) != self.want:
            old = self.table
            self.table = old.new_zeros((old.shape[0], self.want[0], old.shape[2], self.want[1], old.shape[4]))
            self.table[:, : old.shape[1], :, : old.shape[3]] = old

    def see(self, first: int, positions: Tensor) -> None:
        """Look at the rows from `first` on, whose new tokens stand at `positions` [B, q]."""
        self.first, self.positions, self.chosen = first, positions, None
        self.rows = torch.arange(len(positions), device=positions.device)
        self.upto = int(positions.max()) + 1

    def choose(self, rows: Tensor) -> None:
        """Look at some of the rows seen."""
        self.chosen = rows

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the new keys and values [B, heads, q, d] and return all up to the furthest one."""
        if self.table is None:
            rows, length = self.want
            shape = 2 * self.layers_held, rows, keys.shape[1], length, keys.shape[3]
            self.table = keys.new_zeros(shape, device=self.positions.device)
        size = len(self.positions)
        found = []
        for side, new in enumerate((keys, values)):
            view = self.table[2 * layer_idx + side, self.first : self.first + size]
            at, places = self.rows, self.positions
            if self.chosen is not None:
                at, places = self.chosen, places[self.chosen]
            view[at[:, None], :, places] = new.transpose(1, 2).to(view.device)
            found.append((view if self.chosen is None else view[at])[:, :, : self.upto].to(new.device))
        return found[0], found[1]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return 0: the positions are always given."""
        return 0

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Return the number of keys and the position of the first."""
        return self.upto, 0
