"""Attention masks and positions for a forward pass of transformers over rows of different length."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

import torch
from torch import Tensor

UNLIMITED: Final = 1 << 30


def longest_context(config: Any) -> int:
    """Return the most tokens of a transcript.

    Rotary embeddings of the kinds longrope and dynamic turn all tokens otherwise once a text is longer than in
    pretraining, so a token's log-probability would depend on later ones: such models stop there.
    """
    text = config.get_text_config(decoder=True)
    limit = int(getattr(text, "max_position_embeddings", None) or UNLIMITED)
    rope = getattr(text, "rope_parameters", None) or {}
    for table in (rope, *rope.values()):
        if isinstance(table, Mapping) and table.get("rope_type") in ("longrope", "dynamic"):
            limit = min(limit, int(table.get("original_max_position_embeddings") or limit))
    return limit


class MaskForm(Enum):
    """How a model takes masks that it did not make: one for each kind of layer, one with a window, or one."""

    BY_LAYER = "by layer"
    WINDOW = "window"
    FULL = "full"


def masks(config: Any, form: MaskForm, visible: Tensor, positions: Tensor, dtype: torch.dtype) -> Any:
    """Return what a model takes as `attention_mask`.

    Args:
        config: the model's.
        form: how it takes masks.
        visible: [B, 1, q, n] which keys a layer without a window sees.
        positions: [B, q] of the tokens.
        dtype: of states.
    """
    keys = torch.arange(visible.shape[-1], device=visible.device)
    places = positions[:, None, :, None]
    window, chunk = getattr(config, "sliding_window", None), getattr(config, "attention_chunk_size", None)
    kinds = {"full_attention": visible}
    if window is not None:
        kinds["sliding_attention"] = visible & (keys > places - window)
    if chunk is not None:
        kinds["chunked_attention"] = visible & (keys // chunk == places // chunk)
    if config._attn_implementation != "sdpa":  # eager attention adds the mask to its scores
        lowest = torch.finfo(dtype).min
        kinds = {
            kind: torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, lowest)
            for kind, mask in kinds.items()
        }
    if form is MaskForm.BY_LAYER:
        return kinds
    return kinds.get("sliding_attention") if form is MaskForm.WINDOW else kinds["full_attention"]
