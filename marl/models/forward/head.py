"""Output head of a causal LM: hidden states to logits as the model's own forward pass makes them.

Some models scale or cap their logits after the last matrix (Granite, Cohere, Gemma). Their forward pass runs here with
a trunk that returns given states, so whatever the model does to logits happens.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import GPT2LMHeadModel, LlamaForCausalLM, MistralForCausalLM, PreTrainedModel, Qwen2ForCausalLM

LINEAR: Final = (GPT2LMHeadModel, LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM)
"""Models whose logits are states times one matrix."""
STRETCH: Final = 100.0
"""States are stretched for the check, so that a cap shows."""


class States:
    """What a trunk returns that computed nothing but its last hidden states."""

    def __init__(self, hidden: Tensor) -> None:
        self.last_hidden_state = hidden

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)

    def __getitem__(self, index: Any) -> Any:
        return (self.last_hidden_state,)[index]


def trunk_of(model: Any) -> Any:
    """Return the part of a causal LM that computes its last hidden states."""
    return getattr(model, "model", model) if model.base_model is model else model.base_model


class Head:
    """Logits of hidden states. `linear`: one matrix makes them; `split`: the model has states to make them of."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.linear, self.split = True, True
        self._lock = threading.RLock()
        if type(model) not in LINEAR:
            self._examine(model)

    @torch.no_grad()
    def _examine(self, model: Any) -> None:
        ids = torch.tensor([[1, 2, 3]], device=model.device)
        try:
            states = trunk_of(model)(input_ids=ids, use_cache=False).last_hidden_state
            logits = model(input_ids=ids, use_cache=False).logits
            self.split = trunk_of(model) is not model and near(self.own(model, states), logits)
        except Exception:  # models of other shapes raise what they like
            self.split = False
        try:
            wide = STRETCH * states
            self.linear = self.split and near(model.get_output_embeddings()(wide), self.own(model, wide))
        except Exception:
            self.linear = False

    def __call__(self, model: Any, hidden: Tensor) -> Tensor:
        """Return fp32 logits [..., V] of hidden states [..., d]; where the head is not split, `hidden` is logits."""
        if not self.split:
            return hidden.float()
        if self.linear:
            logits: Tensor = model.get_output_embeddings()(hidden)
        else:
            logits = self.own(model, hidden[None] if hidden.dim() == 2 else hidden).view(*hidden.shape[:-1], -1)
        return logits.to(hidden.device).float()

    def states(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """Run the trunk; return the last hidden states [B, T, d], or logits where the head is not split."""
        out: Tensor = trunk_of(model)(**inputs).last_hidden_state if self.split else model(**inputs).logits
        return out

    def own(self, model: Any, hidden: Tensor) -> Tensor:
        """Return the logits [B, T, V] that the model's forward pass makes of states [B, T, d]."""
        ids = torch.ones(hidden.shape[:2], dtype=torch.int64, device=model.device)
        with self._lock, returning(trunk_of(model), hidden):
            logits: Tensor = model(input_ids=ids, use_cache=False).logits
        return logits


def near(one: Tensor, two: Tensor) -> bool:
    """Whether two tensors agree to a thousandth of the largest entry."""
    return bool((one.float() - two.float()).abs().max() <= 1e-3 * two.float().abs().max())


@contextmanager
def returning(trunk: nn.Module, hidden: Tensor) -> Iterator[None]:
    """Have a trunk return these hidden states."""
    before = trunk.__dict__.get("forward")

    def forward(*args: Any, **kwargs: Any) -> Any:
        return States(hidden)

    trunk.__dict__["forward"] = forward
    try:
        yield
    finally:
        del trunk.__dict__["forward"]
        if before is not None:
            trunk.__dict__["forward"] = before


_HEADS: WeakKeyDictionary[PreTrainedModel, Head] = WeakKeyDictionary()


def head_of(model: PreTrainedModel) -> Head:
    """Return the head of a model, examined once."""
    if model not in _HEADS:
        _HEADS[model] = Head(model)
    return _HEADS[model]
