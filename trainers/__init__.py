"""What moves weights: one small file per algorithm, and `run`, the composition of everything."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    """Import torch only when a trainer is used."""
    if name in ("run", "RunConfig", "Run"):
        module = import_module("trainers.run")
        return module if name == "run" else getattr(module, name)
    raise AttributeError(f"module 'trainers' has no attribute {name!r}")
