"""Key-value caches: of one batched call (`RowCache`), of a batch that runs on (`RunningCache`), and between turns.

A transcript keeps its keys and values from one turn to the next: `KVBlock` holds those of a whole sampled batch and the
transcript a row of it, `KVRow` holds those of one transcript.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import Cache
from typing_extensions import override

from marl.inference.request import GenerationRequest

GROWTH_TOKENS: Final = 128
"""A `RunningCache` grows by this many token columns."""


class KVBlock(NamedTuple):
    """Keys and values of one sampled batch, computed by the weights of `version`; each transcript keeps one row."""

    layers: list[tuple[Tensor, Tensor]]  # keys and values of each layer, [B, heads, T, d] both
    version: int


class KVRow(NamedTuple):
    """Keys and values of one transcript, computed by the weights of `version`."""

    table: Tensor  # [2 layers, heads, n, d]
    version: int


def in_order(rows: NDArray[np.int64], count: int) -> bool:
    """Whether row indices are 0, 1, ..., count - 1, so that selecting by them changes nothing."""
    return len(rows) == count and bool((rows == np.arange(count)).all())


class RowCache(Cache):  # type: ignore[misc]
    """transformers' cache interface over buffers [B, heads, T, d]; each row is written at its own positions.

    Before each pass the caller sets `upto`, and either `start` (all rows alike) or `positions` [B, q].
    """

    def __init__(self, layers: list[tuple[Tensor, Tensor]] | None, length: int) -> None:
        super().__init__(layers=[])
        self.buffers = layers or []
        self.length = length
        self.positions: Tensor | None = None
        self.start: int | None = None
        self.upto = 0

    @override
    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        # Write the new keys and values [B, heads, q, d]; return all columns before `upto`.
        if layer_idx == len(self.buffers):
            batch, heads, _, width = keys.shape
            shape = (batch, heads, self.length, width)
            self.buffers.append((keys.new_zeros(shape), values.new_zeros(shape)))
        for buffer, new in zip(self.buffers[layer_idx], (keys, values), strict=True):
            if self.start is not None:
                buffer[:, :, self.start : self.upto] = new
            else:
                assert self.positions is not None
                rows = torch.arange(len(buffer), device=buffer.device)[:, None]
                buffer[rows, :, self.positions] = new.transpose(1, 2)
        k, v = self.buffers[layer_idx]
        return k[:, :, : self.upto], v[:, :, : self.upto]

    def select(self, rows: NDArray[np.int64]) -> None:
        """Keep only these rows, in this order; a row may be taken several times."""
        if in_order(rows, len(self.buffers[0][0])):
            return
        index = torch.from_numpy(rows).to(self.buffers[0][0].device)
        self.buffers = [(keys.index_select(0, index), values.index_select(0, index)) for keys, values in self.buffers]

    @override
    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.start or 0

    @override
    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        return self.upto, 0


def gather_blocks(requests: Sequence[GenerationRequest], length: int) -> list[tuple[Tensor, Tensor]] | None:
    """Copy the cached rows of a batch's transcripts into new buffers [B, heads, length, d]; None if all are new."""
    blocks: dict[int, KVBlock] = {}
    rows: dict[int, list[tuple[int, int]]] = {}  # for each block: (row of the batch, row of the block)
    for i, request in enumerate(requests):
        if request.transcript.cached:
            block, row = request.transcript.cache
            blocks[id(block)] = block
            rows.setdefault(id(block), []).append((i, row))
    if not blocks:
        return None
    sample = next(iter(blocks.values())).layers
    indices = {key: torch.tensor(pairs, device=sample[0][0].device).unbind(1) for key, pairs in rows.items()}
    layers = []
    for layer, pair in enumerate(sample):
        merged = []
        for side, like in enumerate(pair):
            buffer = like.new_zeros((len(requests), like.shape[1], length, like.shape[3]))
            for key, block in blocks.items():
                to, source = indices[key]
                old = block.layers[layer][side]
                upto = min(length, old.shape[2])
                buffer[to, :, :upto] = old[source, :, :upto]
            merged.append(buffer)
        layers.append((merged[0], merged[1]))
    return layers


class RunningCache(Cache):  # type: ignore[misc]
    """Keys and values of a running batch in one table; each pass sees some of its rows.

    `table` is [2 layers, rows, heads, T, d]: keys of layer l at 2l, values at 2l + 1. None until the first pass.
    """

    def __init__(self, layers: int) -> None:
        super().__init__(layers=[])
        self.layer_count = layers
        self.table: Tensor | None = None
        self.size = (0, 0)  # rows, columns
        self.first = 0
        self.rows = self.positions = torch.zeros(0)
        self.upto = 0
        self.chosen: Tensor | None = None

    def reserve(self, rows: int, length: int) -> None:
        """Grow to at least so many rows and columns; the contents stay."""
        self.size = (max(rows, self.size[0]), max(length + (-length) % GROWTH_TOKENS, self.size[1]))
        if self.table is not None and (self.table.shape[1], self.table.shape[3]) != self.size:
            old = self.table
            self.table = old.new_zeros((old.shape[0], self.size[0], old.shape[2], self.size[1], old.shape[4]))
            self.table[:, : old.shape[1], :, : old.shape[3]] = old

    def view_rows(self, first: int, positions: Tensor) -> None:
        """Let the next pass see the rows from `first` on; its new tokens stand at `positions` [B, q]."""
        self.first, self.positions, self.chosen = first, positions, None
        self.rows = torch.arange(len(positions), device=positions.device)
        self.upto = int(positions.max()) + 1

    def choose(self, rows: Tensor) -> None:
        """Let the next pass see only these of the viewed rows."""
        self.chosen = rows

    @override
    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        # Write the new keys and values [B, heads, q, d]; return all columns before `upto`.
        if self.table is None:
            rows, length = self.size
            shape = 2 * self.layer_count, rows, keys.shape[1], length, keys.shape[3]
            self.table = keys.new_zeros(shape, device=self.positions.device)
        size = len(self.positions)
        pair = []
        for side, new in enumerate((keys, values)):
            view = self.table[2 * layer_idx + side, self.first : self.first + size]
            index, positions = self.rows, self.positions
            if self.chosen is not None:
                index, positions = self.chosen, positions[self.chosen]
            view[index[:, None], :, positions] = new.transpose(1, 2).to(view.device)
            pair.append((view if self.chosen is None else view[index])[:, :, : self.upto].to(new.device))
        return pair[0], pair[1]

    @override
    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0  # positions are always passed explicitly

    @override
    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        return self.upto, 0


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Return the length of the common prefix of two transcripts."""
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return index
    return min(len(one), len(other))
