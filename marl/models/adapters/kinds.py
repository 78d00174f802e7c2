"""Kinds of peft adapters: which ones Base can compute, and which of them are plain LoRA.

peft has more than forty kinds. Those that change modules in place are computed by peft's own layers. Those that act
outside of the modules, as virtual tokens or hooks of `PeftModel.forward` do, would have no effect: they are refused.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Final

from peft import PeftConfig
from peft.tuners.lora.layer import Linear as LoraLinear
from peft.utils import AuxiliaryTrainingWrapper
from torch import nn

from marl.errors import UserError
from marl.models.llama import ATTENTION, MLP


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


CONFIG: Final = "adapter_config.json"
LORA: Final = "LORA"
IN_PLACE: Final = _names(
    "LORA ADALORA BEFT BOFT C3A DEFT DELORA FOURIERFT FROD GLORA GRALORA HIRA HRA IA3 LN_TUNING LOHA LOKR MISS "
    "OFT PEANUT PSOFT PVERA RANDLORA ROAD SHIRA SUPERTUNING TINYLORA TRAINABLE_TOKENS UNILORA VBLORA VERA "
    "WAVEFT"
)
"""Kinds that change modules in place. tests/marl/models/test_adapters.py compares each with peft."""
REFUSED: Final = {
    "PROMPT_TUNING": "puts virtual tokens before every text",
    "MULTITASK_PROMPT_TUNING": "puts virtual tokens before every text",
    "P_TUNING": "puts virtual tokens before every text",
    "CPT": "puts virtual tokens before every text",
    "PREFIX_TUNING": "puts keys and values of its own before every text",
    "CARTRIDGE": "puts keys and values of its own before every text",
    "ADAPTION_PROMPT": "puts keys of its own before every text",
    "XLORA": "mixes several adapters by a pass of its own",
    "POLY": "needs the number of a task with every text",
    "LILY": "weighs its experts by a mean over the whole text, so later words would change earlier ones",
    "SHADOW": "runs a second model beside the first",
    "OSF": "changes the weights of the base model, which others share",
}
PLAIN_FIELDS: Final = _names(
    "r lora_alpha lora_dropout target_modules exclude_modules layers_to_transform layers_pattern use_rslora "
    "alpha_pattern init_lora_weights loftq_config eva_config corda_config lora_ga_config runtime_config"
)
"""Settings of LoRA with which it is still W + s B A."""
LORA_FIELDS: Final = PLAIN_FIELDS | _names(
    "fan_in_fan_out bias modules_to_save rank_pattern trainable_token_indices use_dora velora_config use_qalora "
    "qalora_group_size monteclora_config layer_replication lora_bias target_parameters kasa_config "
    "ensure_weight_tying"
)
"""Settings of LoRA that peft's layers compute by themselves."""
SHARED_INITS: Final = frozenset({"gaussian", "eva", "orthogonal", "true", "false"})
"""Initialisations of LoRA that leave the base model's weights as they are."""


def read_config(folder: Path) -> Any:
    """Read the configuration of a saved adapter; raises UserError for one that Base cannot compute."""
    config: Any = None
    try:
        kind = str(json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("peft_type"))
        if kind in IN_PLACE:
            config = PeftConfig.from_pretrained(str(folder))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        first = str(error).partition("\n")[0][:200]
        raise UserError(f"{folder} is not a whole adapter folder ({first}): restore it") from None
    if config is None:
        why = REFUSED.get(kind, "is not known here")
        raise UserError(f"{folder} is an adapter of the kind {kind}, which {why}, so it cannot be played: use LoRA")
    if config.task_type not in (None, "CAUSAL_LM"):
        raise UserError(f"{folder} is an adapter for {config.task_type}, not CAUSAL_LM: name one of a chat model")
    if kind == LORA and (wrong := sorted(changed_fields(config) - LORA_FIELDS)):
        raise UserError(f"{folder} is a LoRA adapter with {wrong[0]}, which cannot be played here: train one without")
    return config


def changed_fields(config: Any) -> set[str]:
    """Return the names of a LoRA's settings that differ from peft's defaults, without those that describe the file."""
    named = {field.name for field in dataclasses.fields(PeftConfig)}
    default = type(config)()
    fields = [field.name for field in dataclasses.fields(config) if field.name not in named and field.init]
    return {name for name in fields if _value(config, name) != _value(default, name)}


def _value(config: Any, name: str) -> Any:
    return getattr(config, name) or None  # empty lists and tables are as good as none


def alters_base(config: Any) -> bool:
    """Whether an adapter changes weights of the base model that other policies would share."""
    if getattr(config, "bias", "none") not in ("none", False, None):
        return True
    start = str(getattr(config, "init_lora_weights", True)).lower()
    return bool(getattr(config, "layer_replication", None)) or (config.peft_type == LORA and start not in SHARED_INITS)


def is_plain(model: nn.Module, config: Any, name: str) -> bool:
    """Whether an adapter is W + s B A of one rank, in linear layers."""
    if config.peft_type != LORA or changed_fields(config) - PLAIN_FIELDS:
        return False
    return all(type(module) is LoraLinear for module in model.modules() if _adapts(module, name))


def lean_matrices(model: Any, name: str) -> frozenset[tuple[int, str]] | None:
    """Return (layer, matrix) of all that an adapter of a Llama changes; None if it changes more than the layers."""
    matrices: dict[nn.Module, tuple[int, str]] = {}
    for index, layer in enumerate(model.base_model.layers):
        for part, names in ((layer.self_attn, ATTENTION), (layer.mlp, MLP)):
            matrices |= {getattr(part, matrix): (index, matrix) for matrix in names}
    changed = [module for module in model.modules() if _adapts(module, name)]
    if any(module not in matrices for module in changed):
        return None
    return frozenset(matrices[module] for module in changed)


def _adapts(module: nn.Module, name: str) -> bool:
    """Whether a module of peft holds weights of an adapter."""
    return any(name in getattr(module, group, ()) for group in getattr(module, "adapter_layer_names", ()))


def has_adapter(module: Any) -> bool:
    """Whether a module, such as the output embeddings, is one that peft adapts."""
    return isinstance(module, AuxiliaryTrainingWrapper) or hasattr(module, "adapter_layer_names")
