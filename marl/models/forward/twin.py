"""Twin of a causal LM: a model of random weights with the same configuration, shrunk to a few thousand weights.

It has every kind of layer that the configuration names, its windows are a few tokens long, and all that is no size
(kinds of attention, rotary embeddings, scales, caps, tied weights) is as it was, so a short context passes its windows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from marl.models.tiny import seeded

VOCABULARY: Final = 64
WINDOW: Final = 6
"""Tokens that a layer with a window sees."""
LAYER_COUNTS: Final = (
    *("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    *("decoder_layers", "num_decoder_layers", "num_blocks"),
)
MAX_LAYERS: Final = 12
SIZES: Final[tuple[tuple[str, int], ...]] = (
    (r"vocab_size|vocab_size_per_layer_input|unpadded_vocab_size|encoder_hash_byte_group_vocab", VOCABULARY),
    (r"ngram_vocab_size_base", 128),
    (
        r"hidden_size|n_embd|d_model|embedding_size|embedding_dim|word_embed_proj_dim|attention_hidden_size|lru_width",
        32,
    ),
    (r"emb_dim|input_embedding_size|output_embedding_size|ple_embed_dim|pronunciation_embed_dim|shape_embed_dim", 32),
    (r".*intermediate_size.*|.*ffn_dim|.*ffn_hidden_size|n_inner|d_inner|dff|dim_ff|feed_forward_size", 32),
    (
        r"(?!swa_).*num_attention_heads|n_head|n_heads|num_heads|.*attention_heads|linear_num_heads|linear_num_value_heads",
        4,
    ),
    (r".*num_key_value_heads|num_kv_heads|num_query_groups|linear_num_key_heads", 2),
    (r"swa_num_attention_heads", 4),
    (r"head_dim|.*_head_dim|dim_head|attention_head_size|d_head|kv_channels|swa_head_dim|rotary_dim|d_rel", 8),
    (r"qk_head_dim", 16),
    (
        r".*lora_rank|laurel_rank|adapter_rank|hidden_size_per_layer_input|gated_norm_rank|hc_lowrank|router_hidden_size",
        8,
    ),
    (
        r"sliding_window|sliding_window_size|attention_chunk_size|window_size|attention_window_size|local_attention",
        WINDOW,
    ),
    (r"keep_window_size|index_topk|local_attention_window_len", WINDOW),
    (r"num_experts|n_routed_experts|num_local_experts|moe_num_experts", 4),
    (r"num_experts_per_tok|num_experts_per_token|moe_topk|moe_k", 2),
    (r"n_group|num_expert_group|topk_group|zero_expert_num", 2),
    (r"n_shared_experts|num_shared_experts|moe_num_shared_experts", 1),
    (r"first_k_dense_replace|num_dense_layers|num_kv_shared_layers", 1),
    (r"index_n_heads|o_groups", 2),
    (r"mamba_d_state|state_size|ssm_state_size|mamba_dt_rank|time_step_rank", 8),
    (r"mamba_n_heads|mamba_num_heads", 8),
    (r"mamba_d_head|mamba_head_dim|mamba_headdim", 8),
    (r"mamba_d_ssm", 64),
    (r"mamba_n_groups|n_groups|mamba_ngroups", 1),
    (r"chunk_size|mamba_chunk_size", 8),
    (r"block_multiple_of|ffn_round_up_to_multiple_of|make_ngram_vocab_size_divisible_by|split_ngram_parts", 8),
    (r"query_pre_attn_scalar|dim_model_base", 8),
    (
        r"max_position_embeddings|n_positions|n_ctx|max_seq_len|context_length|max_target_positions|model_max_length",
        1024,
    ),
)


def twin(config: PreTrainedConfig, seed: int = 0, vocabulary: int = VOCABULARY) -> PreTrainedModel:
    """Build the twin of a configuration in fp32, in evaluation mode.

    Raises whatever transformers raises where the shrunk configuration cannot be built.
    """
    small = type(config).from_dict(shrunk(config.to_dict()))
    for name in ("vocab_size", "vocab_size_per_layer_input", "unpadded_vocab_size"):
        for part in (small, small.get_text_config(decoder=True)):
            if hasattr(part, name):
                setattr(part, name, vocabulary)
    small._attn_implementation = config._attn_implementation

    def build() -> PreTrainedModel:
        model: PreTrainedModel = AutoModelForCausalLM.from_config(small, dtype=torch.float32)
        for parameter in model.parameters():  # weights of 0 or 1 would hide what they multiply
            if parameter.is_floating_point():
                parameter.data += 0.1 * torch.randn(parameter.shape)
        return model.eval()

    result: PreTrainedModel = seeded(build, seed)
    return result


def shrunk(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration's settings with every size made small."""
    small = dict(settings)
    count = next((int(small[name]) for name in LAYER_COUNTS if isinstance(small.get(name), int)), 0)
    per_layer = {
        name: value for name, value in small.items() if isinstance(value, list | tuple) and len(value) == count > 1
    }
    layers = _layers_of_each_kind(count, per_layer)
    for name, value in small.items():
        if name == "per_layer_config" and isinstance(value, Mapping):
            small[name] = {layer: shrunk(own) for layer, own in value.items() if int(layer) < len(layers)}
        elif isinstance(value, Mapping):
            small[name] = shrunk(value)
            if "qk_rope_head_dim" in settings:  # the share of a head that turns follows from its sizes
                small[name].pop("partial_rotary_factor", None)
        elif name in per_layer:
            small[name] = [_bounded(name, value[layer]) for layer in layers]
        elif name in LAYER_COUNTS and isinstance(value, int):
            small[name] = len(layers) if value == count else min(value, 2)
        else:
            small[name] = _bounded(name, value)
    return small


def _bounded(name: str, value: Any) -> Any:
    """Return a size made small; anything else as it is."""
    if type(value) is not int or value <= 1:
        return value
    if name.endswith("token_id"):
        return value % VOCABULARY
    size = next((size for pattern, size in SIZES if re.fullmatch(pattern, name)), value)
    return min(value, size)


def _layers_of_each_kind(count: int, per_layer: Mapping[str, Any]) -> list[int]:
    """Return as many of the first layers as it takes to have each kind; at least two."""
    last, seen = 1, set[tuple[str, ...]]()
    for layer in range(min(count, MAX_LAYERS)):
        kind = tuple(str(values[layer]) for values in per_layer.values() if isinstance(values[layer], str))
        last = max(last, layer) if kind not in seen else last
        seen.add(kind)
    return list(range(min(last + 1, count)))
