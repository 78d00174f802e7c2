"""The forward pass of a plain GPT-2, without the layers of calls around it.

transformers spends more time between the operations of a tiny model than in them. For an ordinary fp32 GPT-2 this
module does the same mathematics on the same weights; every other model takes transformers' own path. Sampling and
scoring both come through here, so they agree.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, gelu, layer_norm, linear, scaled_dot_product_attention
from transformers import GPT2Model
from transformers.pytorch_utils import Conv1D

from marl.models.prefix_tree import prefix_tree


class KeyValues(Protocol):
    """A cache: takes the new keys and values [B, heads, q, d] of a layer and returns all there are."""

    def update(self, keys: Tensor, values: Tensor, layer_idx: int) -> tuple[Tensor, Tensor]:
        """Append and return."""


def plain(trunk: nn.Module) -> bool:
    """Whether a trunk is a GPT-2 with nothing unusual: no other activation, scale, dtype, dropout or adapter."""
    if type(trunk) is not GPT2Model:
        return False
    unit: Any = trunk
    config, block = unit.config, unit.h[0]
    return bool(
        config.activation_function == "gelu_new"
        and config.scale_attn_weights
        and not config.scale_attn_by_inverse_layer_idx
        and not config.add_cross_attention
        and not (config.resid_pdrop or config.embd_pdrop or config.attn_pdrop)
        and trunk.dtype == torch.float32
        and all(type(part) is Conv1D for part in (block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc))
        and not trunk.gradient_checkpointing
    )


def _affine(x: Tensor, layer: Any, part: slice = slice(None)) -> Tensor:
    return linear(x, layer.weight[:, part].t(), layer.bias[part])  # GPT-2 keeps its matrices the other way round


def _norm(x: Tensor, layer: Any) -> Tensor:
    return layer_norm(x, layer.normalized_shape, layer.weight, layer.bias, layer.eps)


def _heads(x: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """Split [B, q, parts * d] into as many [B, heads, q, d / heads]."""
    return x.view(*x.shape[:2], parts, heads, -1).permute(2, 0, 3, 1, 4).unbind()


def _attend(q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None = None) -> Tensor:
    """Attend causally, or to what is visible: on a processor in fp32, as in bfloat16 the way back is far slower."""
    with torch.autocast("cpu", enabled=False):
        return scaled_dot_product_attention(q, k, v, attn_mask=visible, is_causal=visible is None)


def _pick(x: Tensor, wanted: Tensor) -> Tensor:
    """Take of each row of x [B, q, d] the tokens `wanted` [B, w]."""
    flat = wanted + torch.arange(len(x), device=x.device)[:, None] * x.shape[1]
    return x.flatten(0, 1).index_select(0, flat.flatten()).view(*wanted.shape, -1)


def _finish(x: Tensor, attended: Tensor, block: Any) -> Tensor:
    """Add to the residual stream what attention found and what the layer makes of it."""
    x = x + _affine(attended, block.attn.c_proj)
    return x + _affine(gelu(_affine(_norm(x, block.ln_2), block.mlp.c_fc), approximate="tanh"), block.mlp.c_proj)


def hidden_states(
    trunk: Any,
    ids: Tensor,
    positions: Tensor,
    cache: KeyValues | None = None,
    visible: Tensor | None = None,
    wanted: Tensor | None = None,
) -> Tensor:
    """Return last hidden states [B, q, d], or with `wanted` [B, w, d].

    Args:
        trunk: a model that is `plain`.
        ids: [B, q] tokens.
        positions: [B, q] or [1, q] their places, from 0.
        cache: keys and values of earlier tokens; without one, attention is causal over `ids`.
        visible: [B, 1, q, keys] which keys each token may see; without it, all those before it.
        wanted: [B, w] the tokens of each row whose states are wanted: the last layer is computed for no others.
    """
    heads, last = trunk.config.num_attention_heads, len(trunk.h) - 1
    x = embedding(ids, trunk.wte.weight) + embedding(positions, trunk.wpe.weight)
    size, _, width = x.shape
    for index, block in enumerate(trunk.h):
        normed = _norm(x, block.ln_1)
        if wanted is None or index < last:
            q, k, v = _heads(_affine(normed, block.attn.c_attn), 3, heads)
        else:
            x, asking = _pick(x, wanted), _pick(normed, wanted)
            (q,) = _heads(_affine(asking, block.attn.c_attn, slice(width)), 1, heads)
            k, v = _heads(_affine(normed, block.attn.c_attn, slice(width, None)), 2, heads)
        if cache is not None:
            k, v = cache.update(k, v, index)
        if wanted is not None and index == last:
            at = positions.expand(size, -1).gather(1, wanted)
            # Attention has a quicker path where nothing needs to be hidden.
            all_last = wanted.shape[1] == 1 and bool((at == k.shape[2] - 1).all())
            visible = None if all_last else torch.arange(k.shape[2], device=ids.device) <= at[:, None, :, None]
        causal = visible is None and x.shape[1] > 1
        out = scaled_dot_product_attention(q, k, v, attn_mask=visible, is_causal=causal)
        x = _finish(x, out.transpose(1, 2).reshape(x.shape), block)
    return _norm(x, trunk.ln_f)


def states_at(trunk: Any, ids: Tensor, at: Tensor) -> Tensor:
    """Return the last hidden states [N, d] of the N tokens of ids [B, T] that `at` [B, T] chooses, row by row.

    All but attention is computed once for each beginning of a row, however many rows begin so, and the last layer only
    for those that are wanted.
    """
    heads, last = trunk.config.num_attention_heads, len(trunk.h) - 1
    tree = prefix_tree(ids, at)
    x = embedding(tree.tokens, trunk.wte.weight) + embedding(tree.places, trunk.wpe.weight)  # [M, d]
    width = x.shape[1]  # what is read again and again has the precision of x: its gradient is a sum over many rows
    visible = torch.arange(ids.shape[1], device=ids.device) <= tree.columns[:, None, :, None]  # [R, 1, w, T]
    for index, block in enumerate(trunk.h):
        normed, layer = _norm(x, block.ln_1), block.attn.c_attn
        if index < last:
            q, k, v = _heads(embedding(tree.node, _affine(normed, layer).to(x.dtype)), 3, heads)
            out = _attend(q, k, v)
            out = embedding(tree.stands, out.transpose(1, 2).reshape(-1, width))
        else:
            x, asking = embedding(tree.wanted, x), embedding(tree.wanted, normed)
            (q,) = _heads(embedding(tree.asks, _affine(asking, layer, slice(width)).to(x.dtype)), 1, heads)
            k, v = _heads(embedding(tree.node, _affine(normed, layer, slice(width, None)).to(x.dtype)), 2, heads)
            out = _attend(q, k, v, visible)
            out = embedding(tree.answers, out.transpose(1, 2).reshape(-1, width))
        x = _finish(x, out, block)
    return embedding(tree.found, _norm(x, trunk.ln_f))
