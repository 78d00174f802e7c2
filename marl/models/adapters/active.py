"""The active adapter of a PeftModel: one of its adapters, or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def active(model: Any, adapter: str | None, restore: bool = False) -> Iterator[None]:
    """Compute with one adapter of a PeftModel, or None: with the model as it was. Which weights learn stays as it is.

    An adapter stays active after the block, for passes that are computed again for the gradient; with `restore`, the
    one before is active again, for a block between such a pass and its gradient.
    """
    if model is None or not model.peft_config:
        yield
    elif adapter is None:
        model.base_model.disable_adapter_layers()
        try:
            yield
        finally:
            model.base_model.enable_adapter_layers()
    else:
        before = model.base_model.active_adapters
        _activate(model, adapter)
        yield
        if restore and before != [adapter]:
            _activate(model, before)


def _activate(model: Any, adapter: str | list[str]) -> None:
    learning = {p: p.requires_grad for p in model.parameters()}
    model.base_model.set_adapter(adapter)
    for parameter, on in learning.items():  # set_adapter also says what is trained
        parameter.requires_grad_(on)
