"""The active adapter of a PeftModel: one of its adapters, or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def active(model: Any, adapter: str | None) -> Iterator[None]:
    """Compute with one adapter of a PeftModel, or None: with the model as it was. Which weights learn stays as it is.

    An adapter stays active after the block: passes that are computed again for the gradient need it then.
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
        learning = {p: p.requires_grad for p in model.parameters()}
        model.base_model.set_adapter(adapter)
        for parameter, on in learning.items():  # set_adapter also says what is trained
            parameter.requires_grad_(on)
        yield
