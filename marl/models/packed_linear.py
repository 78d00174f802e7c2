"""The matrices of a model laid out once as oneDNN wants them, where every product would lay them out again.

At a few rows that is most of a product on a CPU: of SmolLM2 in bf16 a token of four rows costs half as much.
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
    """Whether oneDNN multiplies in this dtype there."""
    if device.type != "cpu" or dtype != torch.bfloat16 or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    own = torch.ops.mkldnn
    return hasattr(own, "_linear_pointwise") and bool(own._is_mkldnn_bf16_supported())


class Packed:
    """Does what `plain` does, by weights as they were when each layer was first used. Layers given together are one."""

    def __init__(self) -> None:
        self._laid: dict[nn.Module, tuple[Tensor, Tensor | None, list[int]]] = {}

    def __call__(self, x: Tensor, matrices: Sequence[Any]) -> list[Tensor]:
        """Return x W^T + b [..., out] for each layer, in bf16."""
        known = self._laid.get(matrices[0])
        if known is None:
            known = self._laid[matrices[0]] = _lay(matrices)
        weight, bias, sizes = known
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x.bfloat16(), weight, bias, "none", [], "")
        return [out] if len(sizes) == 1 else list(torch.split(out, sizes, -1))


def _lay(matrices: Sequence[Any]) -> tuple[Tensor, Tensor | None, list[int]]:
    weight = torch.cat([matrix.weight.detach().bfloat16() for matrix in matrices])
    biases = [matrix.bias for matrix in matrices]
    bias = None if biases[0] is None else torch.cat([each.detach().bfloat16() for each in biases])
    laid = torch.ops.mkldnn._reorder_linear_weight(weight, None)
    return laid, bias, [len(matrix.weight) for matrix in matrices]
