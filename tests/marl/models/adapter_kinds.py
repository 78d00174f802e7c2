"""Adapters of every kind that peft has, and each of LoRA's settings, on a tiny chat model."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import peft
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from torch import Tensor

from marl.models.lora_base import Base
from tests.marl import chats

WORDS: Final = chats.tokenizer()
SIZE: Final = len(WORDS) + 5
TARGETS: Final = ["q_proj", "v_proj"]


def lora(**more: Any) -> LoraConfig:
    return LoraConfig(**({"r": 4, "target_modules": TARGETS, "task_type": "CAUSAL_LM"} | more))


def kind(name: str, **more: Any) -> Any:
    settings = {"target_modules": TARGETS, "task_type": "CAUSAL_LM"} | more
    given = {key: value for key, value in settings.items() if value is not None}
    return PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(name)](**given)


LORAS: Final[dict[str, dict[str, Any]]] = {
    "plain": {},
    "every matrix": {"target_modules": "all-linear"},
    "gaussian": {"init_lora_weights": "gaussian"},
    "rslora": {"use_rslora": True},
    "dropout": {"lora_dropout": 0.5},
    "alphas": {"alpha_pattern": {"v_proj": 64}},
    "one layer": {"layers_to_transform": [1]},
    "ranks": {"rank_pattern": {"v_proj": 2}},
    "dora": {"use_dora": True},
    "dora on the head": {"use_dora": True, "target_modules": ["q_proj", "lm_head"]},
    "bias of its own": {"lora_bias": True},
    "all biases": {"bias": "all"},
    "head": {"target_modules": ["q_proj", "lm_head"]},
    "head alone": {"target_modules": ["lm_head"]},
    "embeddings": {"target_modules": ["q_proj", "embed_tokens"]},
    "saved head": {"modules_to_save": ["lm_head"]},
    "saved embeddings": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "saved norm": {"modules_to_save": ["norm"]},
    "tokens": {"trainable_token_indices": [5, 9, 77]},
    "tokens of the head": {"trainable_token_indices": {"lm_head": [5, 9, 77]}},
    "pissa": {"init_lora_weights": "pissa"},
    "olora": {"init_lora_weights": "olora"},
    "layers twice": {"layer_replication": [[0, 2], [0, 2]]},
    "parameters": {"target_modules": [], "target_parameters": ["mlp.up_proj.weight"]},
    "qalora": {"use_qalora": True, "qalora_group_size": 4},
    "kasa": {"kasa_config": peft.KasaConfig()},
    "velora": {"velora_config": peft.VeloraConfig()},
    "monteclora": {"monteclora_config": peft.MontecloraConfig()},
}
KINDS: Final[dict[str, dict[str, Any]]] = {
    "ADALORA": {"total_step": 10, "init_r": 6, "target_r": 4},
    "BEFT": {},
    "BOFT": {"boft_block_size": 4},
    "C3A": {"block_size": 8},
    "DEFT": {},
    "DELORA": {},
    "FOURIERFT": {"n_frequency": 20},
    "FROD": {},
    "GLORA": {},
    "GRALORA": {"r": 4},
    "HIRA": {},
    "HRA": {"r": 4},
    "IA3": {"target_modules": ["k_proj", "down_proj"], "feedforward_modules": ["down_proj"]},
    "LN_TUNING": {"target_modules": ["input_layernorm", "norm"]},
    "LOHA": {},
    "LOKR": {},
    "MISS": {"r": 4},
    "OFT": {"oft_block_size": 4},
    "PEANUT": {},
    "PSOFT": {"r": 4},
    "PVERA": {},
    "RANDLORA": {},
    "ROAD": {"group_size": 8},
    "SHIRA": {"r": 4},
    "SUPERTUNING": {},
    "TINYLORA": {},
    "TRAINABLE_TOKENS": {"token_indices": [5, 9, 77], "target_modules": ["embed_tokens"]},
    "UNILORA": {},
    "VBLORA": {"num_vectors": 8, "vector_length": 8, "topk": 2},
    "VERA": {},
    "WAVEFT": {"n_frequency": 20},
}
OUTSIDE: Final[dict[str, dict[str, Any]]] = {
    "PROMPT_TUNING": {"num_virtual_tokens": 4, "target_modules": None},
    "PREFIX_TUNING": {"num_virtual_tokens": 4, "target_modules": None},
    "P_TUNING": {"num_virtual_tokens": 4, "target_modules": None},
    "MULTITASK_PROMPT_TUNING": {"num_virtual_tokens": 4, "target_modules": None},
    "CPT": {"cpt_token_ids": [5, 9], "cpt_mask": [1, 1], "cpt_tokens_type_mask": [1, 2], "target_modules": None},
    "CARTRIDGE": {"num_virtual_tokens": 4, "target_modules": None},
    "ADAPTION_PROMPT": {"adapter_len": 4, "adapter_layers": 1, "target_modules": None},
    "LILY": {},
    "OSF": {},
    "POLY": {"r": 4},
    "SHADOW": {"target_modules": None},
    "XLORA": {"hidden_size": 32, "adapters": {"0": "none"}, "target_modules": None},
}


def config_of(name: str) -> Any:
    """Return the configuration of a LoRA in this setting, or of this kind of adapter."""
    return lora(**LORAS[name]) if name in LORAS else kind(name, **KINDS[name])


@contextmanager
def silent() -> Iterator[None]:
    """Let peft warn of what is meant here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def saved(folder: Path, name: str, on: str = "llama", seed: int = 3) -> Path:
    """Save an adapter whose weights all differ from those it began with."""
    with silent():
        model = get_peft_model(chats.model(SIZE, on), config_of(name))
    generator = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data += torch.randn(weight.shape, generator=generator) * 0.1
    with silent():
        model.save_pretrained(folder)
    return folder


def truth(folder: Path, ids: Tensor, on: str = "llama") -> Tensor:
    """Return the logits [B, T, V] of peft's own forward pass."""
    with silent():
        model = PeftModel.from_pretrained(chats.model(SIZE, on), folder).eval()
    with torch.no_grad():
        return model(ids).logits.float()  # type: ignore[no-any-return]


def loaded(folder: Path, on: str = "llama") -> Base:
    """Return a base with this adapter, as x."""
    base = Base(chats.model(SIZE, on), WORDS, "tiny", torch.float32)
    base.load("policy_x", folder)
    return base
