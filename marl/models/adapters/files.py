"""Weights of peft adapters: load, save and copy them, as `PeftModel` does."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor

WEIGHTS: Final = "adapter_model.safetensors"
PREFIX: Final = "base_model.model."
"""Of peft's keys, before those of the model."""


def own_weights(model: Any, name: str) -> dict[str, Tensor]:
    """Return the weights of an adapter of a PeftModel, under the keys of its file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft takes the biases of B for matrices that were cut
        weights: dict[str, Tensor] = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    return weights


def load_weights(model: Any, name: str, folder: Path, source: str) -> None:
    """Load a saved adapter into one of a PeftModel; raises RuntimeError for one of another base than `source`."""
    weights, own = load_file(folder / WEIGHTS), own_weights(model, name)
    _leave_embeddings(weights, own, model, folder, source)
    fits = own.keys() == weights.keys() and all(own[key].shape == weights[key].shape for key in own)
    if not fits:
        raise RuntimeError(f"the adapter {folder} is of another base model than {source}, or of another shape")
    set_peft_model_state_dict(model, weights, adapter_name=name)


def _leave_embeddings(
    weights: dict[str, Tensor], own: Mapping[str, Tensor], model: Any, folder: Path, source: str
) -> None:
    """Leave out the base model's embeddings, which peft saves beside adapters on them; they must be unchanged."""
    base = model.base_model.model.state_dict()
    for key in set(weights) - set(own):
        kept = base.get(key.removeprefix(PREFIX))
        if kept is None:
            continue
        saved = weights.pop(key).to(kept.device, kept.dtype)
        if saved.shape != kept.shape or not torch.equal(saved, kept):
            raise RuntimeError(
                f"the adapter {folder} brings {key.removeprefix(PREFIX)} {list(saved.shape)}, which is not that of "
                f"{source}: merge the adapter into its model, and name that"
            )


def save(model: Any, name: str, folder: Path) -> None:
    """Write an adapter of a PeftModel as an adapter folder."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = own_weights(model, name)
    save_file({key: value.detach().contiguous().cpu() for key, value in weights.items()}, folder / WEIGHTS)
    model.peft_config[name].save_pretrained(str(folder))


def copy_weights(model: Any, name: str, to: str) -> None:
    """Copy the weights and buffers of an adapter into another of the same configuration."""
    weights = {key: value.clone() for key, value in own_weights(model, name).items()}
    set_peft_model_state_dict(model, weights, adapter_name=to)
