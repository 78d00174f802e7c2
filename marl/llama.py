"""The forward pass of a plain Llama, without the layers of calls around it.

transformers spends more time between the operations of a tiny model than in them. For an ordinary fp32 Llama this
module does the same mathematics on the same weights, with fused normalisation; every other model takes transformers'
own path. Sampling and scoring both come through here, so they agree.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear, rms_norm, scaled_dot_product_attention, silu
from transformers import LlamaModel


class KeyValues(Protocol):
    """A cache: takes the new keys and values [B, heads, q, d] of a layer and returns all there are."""

    def update(self, keys: Tensor, values: Tensor, layer_idx: int) -> tuple[Tensor, Tensor]:
        """Append and return."""


def plain(trunk: nn.Module) -> bool:
    """Whether a trunk is a Llama with nothing unusual: no other rope, bias, activation, dtype, dropout or adapter."""
    if type(trunk) is not LlamaModel:
        return False
    unit: Any = trunk
    config, attention = unit.config, unit.layers[0].self_attn
    return bool(
        config.rope_parameters.get("rope_type", "default") == "default"
        and not config.attention_bias
        and not config.mlp_bias
        and not config.attention_dropout
        and config.hidden_act == "silu"
        and trunk.dtype == torch.float32
        and type(attention.q_proj) is nn.Linear
        and type(attention.v_proj) is nn.Linear
        and not trunk.gradient_checkpointing
    )


def hidden_states(
    trunk: Any, ids: Tensor, positions: Tensor, cache: KeyValues | None = None, visible: Tensor | None = None
) -> Tensor:
    """Return last hidden states [B, q, d].

    Args:
        trunk: a model that is `plain`.
        ids: [B, q] tokens.
        positions: [B, q] or [1, q] their places, from 0.
        cache: keys and values of earlier tokens; without one, attention is causal over `ids`.
        visible: [B, 1, q, keys] which keys each token may see; without it, all those before it.
    """
    config = trunk.config
    eps, width = config.rms_norm_eps, (config.hidden_size,)
    angles = positions[:, None, :, None] * trunk.rotary_emb.inv_freq  # [B or 1, 1, q, head / 2]
    cos = torch.cat([angles.cos()] * 2, -1)
    sin = torch.cat([-angles.sin(), angles.sin()], -1)  # rotate_half(x) = roll(x) with the first half negated
    half = sin.shape[-1] // 2
    shape = (*ids.shape, -1, 2 * half)
    x = embedding(ids, trunk.embed_tokens.weight)
    for index, layer in enumerate(trunk.layers):
        attention, mlp = layer.self_attn, layer.mlp
        h = rms_norm(x, width, layer.input_layernorm.weight, eps)
        q = linear(h, attention.q_proj.weight).view(shape).transpose(1, 2)
        k = linear(h, attention.k_proj.weight).view(shape).transpose(1, 2)
        v = linear(h, attention.v_proj.weight).view(shape).transpose(1, 2)
        q = torch.addcmul(q * cos, q.roll(half, -1), sin)
        k = torch.addcmul(k * cos, k.roll(half, -1), sin)
        if cache is not None:
            k, v = cache.update(k, v, index)
        causal = visible is None and q.shape[2] > 1
        grouped = q.shape[1] != k.shape[1]
        out = scaled_dot_product_attention(q, k, v, attn_mask=visible, is_causal=causal, enable_gqa=grouped)
        x = x + linear(out.transpose(1, 2).reshape(*ids.shape, -1), attention.o_proj.weight)
        h = rms_norm(x, width, layer.post_attention_layernorm.weight, eps)
        gate = silu(linear(h, mlp.gate_proj.weight)) * linear(h, mlp.up_proj.weight)
        x = x + linear(gate, mlp.down_proj.weight)
    return rms_norm(x, width, trunk.norm.weight, eps)
