"""Linear weights prepacked for oneDNN (bf16, CPU).

Otherwise every product packs its weights again, which takes most of the time at a few rows: prepacked, a token of four
rows of SmolLM2 in bf16 costs half as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


def plain(x: Tensor, matrices: Sequence[Any]) -> list[Tensor]:
    """Return x W^T + b [..., out] for each of several linear layers."""
    return [linear(x, matrix.weight, matrix.bias) for matrix in matrices]


def packable(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies in this dtype on this device."""
    if device.type != "cpu" or dtype != torch.bfloat16 or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    own = torch.ops.mkldnn
    return hasattr(own, "_linear_pointwise") and bool(own._is_mkldnn_bf16_supported())


class Packed:
    """Computes what `plain` does, with weights packed at first use; layers passed together are packed as one."""

    def __init__(self) -> None:
        self._packed: dict[nn.Module, tuple[Tensor, Tensor | None, list[int]]] = {}

    def __call__(self, x: Tensor, matrices: Sequence[Any]) -> list[Tensor]:
        """Return x W^T + b [..., out] for each layer, in bf16."""
        packed = self._packed.get(matrices[0])
        if packed is None:
            packed = self._packed[matrices[0]] = _pack(matrices)
        weight, bias, sizes = packed
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x.bfloat16(), weight, bias, "none", [], "")
        return [out] if len(sizes) == 1 else list(torch.split(out, sizes, -1))


def _pack(matrices: Sequence[Any]) -> tuple[Tensor, Tensor | None, list[int]]:
    weight = torch.cat([matrix.weight.detach().bfloat16() for matrix in matrices])
    biases = [matrix.bias for matrix in matrices]
    bias = None if biases[0] is None else torch.cat([b.detach().bfloat16() for b in biases])
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)
    return packed, bias, [len(matrix.weight) for matrix in matrices]
