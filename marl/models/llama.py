"""The forward pass of Llama and its likes (Mistral, Qwen2), with a LoRA of its own for every row of a batch.

As in gpt2.py the mathematics is that of transformers on the same weights, without the layers of calls around it; other
models take transformers' own path. Heads that share keys and values (GQA) are read as further queries of one head, so
keys and values are never copied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear, rms_norm, silu
from torch.utils.checkpoint import checkpoint
from transformers import LlamaModel, MistralModel, Qwen2Model

from marl.models.attention import Sight, attend, sight
from marl.models.gpt2 import KeyValues
from marl.models.packed_linear import plain

ATTENTION: Final = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP: Final = ("gate_proj", "up_proj", "down_proj")


class Pack(NamedTuple):
    """The LoRAs of one matrix side by side: x -> x + (gate * x A^T) B^T; `gate` opens each row its own."""

    a: Tensor  # [R, in], R the sum of all ranks
    b: Tensor  # [out, R]


Packs = Sequence[Mapping[str, Pack]]
"""Layer -> name of the matrix -> its LoRAs."""
Affine = Callable[[Tensor, Sequence[Any]], list[Tensor]]
"""Multiplies x with the matrices of several linear layers: `plain`, or what does the same sooner."""


class Prefix:
    """Keys and values of a beginning that all rows of a batch share, with gradients: recorded, then read by all."""

    def __init__(self) -> None:
        self.kept: list[tuple[Tensor, Tensor]] = []
        self.recording = True

    def update(self, keys: Tensor, values: Tensor, layer_idx: int) -> tuple[Tensor, Tensor]:
        """Return all keys and values [B, heads, n, d] of a layer."""
        if self.recording:
            self.kept.append((keys, values))
            return keys, values
        before = (states.expand(len(keys), -1, -1, -1) for states in self.kept[layer_idx])
        k, v = (torch.cat(pair, 2) for pair in zip(before, (keys, values), strict=True))
        return k, v


def lean(trunk: nn.Module) -> bool:
    """Whether a trunk is a Llama with nothing unusual: no other activation, sliding window, dropout or matrix."""
    if type(trunk) not in (LlamaModel, MistralModel, Qwen2Model):
        return False
    unit: Any = trunk
    config, layer = unit.config, unit.layers[0]
    matrices = [_base(getattr(layer.self_attn, name)) for name in ATTENTION]
    matrices += [_base(getattr(layer.mlp, name)) for name in MLP]
    return bool(
        config.hidden_act == "silu"
        and not getattr(config, "attention_dropout", 0.0)
        and (not getattr(config, "sliding_window", None) or not getattr(config, "use_sliding_window", True))
        and all(type(matrix) is nn.Linear for matrix in matrices)
    )


def _base(matrix: Any) -> Any:
    return getattr(matrix, "base_layer", matrix)  # peft keeps the frozen matrix inside its own layer


def _norm(x: Tensor, layer: Any, dtype: torch.dtype) -> Tensor:
    return rms_norm(x, layer.weight.shape, layer.weight, layer.variance_epsilon).to(dtype)


def _affine(
    x: Tensor, unit: Any, names: Sequence[str], packs: Mapping[str, Pack], gate: Tensor | None, affine: Affine
) -> list[Tensor]:
    """Return what several matrices of a unit make of x, each with its LoRAs."""
    out = affine(x, [_base(getattr(unit, name)) for name in names])
    for place, name in enumerate(names):
        if name in packs:
            inner = linear(x, packs[name].a)
            out[place] = out[place] + linear(inner if gate is None else inner * gate[:, None], packs[name].b)
    return out


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


def hidden_states(
    trunk: Any,
    ids: Tensor,
    positions: Tensor,
    cache: KeyValues | None = None,
    visible: Tensor | None = None,
    packs: Packs = (),
    gate: Tensor | None = None,
    recompute: bool = False,
    affine: Affine = plain,
) -> Tensor:
    """Return last hidden states [B, q, d].

    Args:
        trunk: a model that is `lean`.
        ids: [B, q] tokens.
        positions: [B, q] or [1, q] their places, from 0.
        cache: keys and values of earlier tokens; without one, attention is causal over `ids`.
        visible: [B, 1, q, keys] which keys each token may see; needed with a cache.
        packs: LoRAs, if any.
        gate: [B, R] the factor of each rank for each row; without it 1.
        recompute: keep no activations inside a layer for the backward pass, but compute them again (Chen et al. 2016).
        affine: how to multiply with the model's own matrices.
    """
    x = embedding(ids, trunk.embed_tokens.weight)
    return _trunk(trunk, x, positions, cache, visible, packs, gate, recompute, affine)


def shared_states(trunk: Any, ids: Tensor, common: int, packs: Packs = ()) -> Tensor:
    """Return last hidden states [B, T, d] of rows of one adapter, whose first `common` tokens are equal: read once."""
    x = embedding(ids, trunk.embed_tokens.weight)
    prefix, places = Prefix(), torch.arange(ids.shape[1], device=ids.device)[None]
    first = _trunk(trunk, x[:1, :common], places[:, :common], prefix, packs=packs)
    prefix.recording = False
    visible = places <= places[:, common:, None]
    rest = _trunk(trunk, x[:, common:], places[:, common:], prefix, visible[:, None], packs)
    return torch.cat([first.expand(len(ids), -1, -1), rest], 1)


def _trunk(
    trunk: Any,
    x: Tensor,
    positions: Tensor,
    cache: KeyValues | None,
    visible: Tensor | None = None,
    packs: Packs = (),
    gate: Tensor | None = None,
    recompute: bool = False,
    affine: Affine = plain,
) -> Tensor:
    """As `hidden_states`, of embedded tokens [B, q, d]."""
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype  # of all but the residual
    cos, sin = (table[:, None].to(dtype) for table in trunk.rotary_emb(x, positions))
    sin = torch.cat((-sin[..., : sin.shape[-1] // 2], sin[..., sin.shape[-1] // 2 :]), -1)  # half of it turns back
    config = trunk.config
    seen = sight(visible, x, dtype, config.num_attention_heads, config.num_key_value_heads)
    if gate is not None:
        gate = gate.to(x.dtype)
    for index, layer in enumerate(trunk.layers):
        pack = packs[index] if packs else {}
        inputs = (layer, index, x, cos, sin, cache, seen, pack, gate, affine)
        x = checkpoint(_layer, *inputs, use_reentrant=False) if recompute else _layer(*inputs)
    return _norm(x, trunk.norm, dtype)


def _layer(
    layer: Any,
    index: int,
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    cache: KeyValues | None,
    seen: Sight,
    pack: Mapping[str, Pack],
    gate: Tensor | None,
    affine: Affine,
) -> Tensor:
    size, length, _ = x.shape
    attention, mlp = layer.self_attn, layer.mlp
    width = attention.head_dim
    y = _norm(x, layer.input_layernorm, cos.dtype)
    qkv = _affine(y, attention, ATTENTION[:3], pack, gate, affine)
    heads, shared = (projection.shape[-1] // width for projection in qkv[:2])
    joint = torch.cat(qkv, -1).view(size, length, -1, width).transpose(1, 2)
    q, k = torch.split(_rotate(joint[:, : heads + shared], cos, sin), [heads, shared], 1)
    v = joint[:, heads + shared :]
    if cache is not None:
        k, v = cache.update(k, v, index)
    out = attend(q, k, v, seen).transpose(1, 2).reshape(size, length, -1)
    x = x + _affine(out, attention, ATTENTION[3:], pack, gate, affine)[0]
    y = _norm(x, layer.post_attention_layernorm, cos.dtype)
    inner, up = _affine(y, mlp, MLP[:2], pack, gate, affine)
    return x + _affine(silu(inner) * up, mlp, MLP[2:], pack, gate, affine)[0]
