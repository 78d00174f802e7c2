"""MaskTable: masks over the vocabulary, one row for each distinct set of allowed tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

MAX_MASK_BYTES: Final = 1 << 28
"""`trim` clears a table that has grown beyond this."""
FIRST_ROWS: Final = 16


class MaskTable(nn.Module):
    """Masks [rows, V]. The table doubles when it is full; no part of it is saved with the model."""

    masks: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.used = 0
        self.register_buffer("masks", torch.zeros(FIRST_ROWS, width, dtype=torch.bool), persistent=False)

    def new_row(self) -> int:
        """Return the index of a new row that allows nothing yet."""
        if self.used == len(self.masks):
            with torch.inference_mode(False):  # it grows while sampling, and may be written to while scoring
                self.masks = torch.cat([self.masks, torch.zeros_like(self.masks)])
        self.used += 1
        return self.used - 1

    def allow(self, row: int, tokens: Sequence[int], end: int, may_end: bool) -> None:
        """Allow these tokens in a row, and the end token if the reply may end."""
        self.masks[row, list(tokens)] = True
        self.masks[row, end] = may_end

    def trim(self) -> bool:
        """Clear the table above MAX_MASK_BYTES; return whether it was cleared, which makes all row indices stale."""
        if full := self.masks.nbytes > MAX_MASK_BYTES:
            self.masks = torch.zeros_like(self.masks[:FIRST_ROWS])
            self.used = 0
        return full
