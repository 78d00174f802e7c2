"""What moves weights: one small file per algorithm, and `run`, the composition of everything."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """Import torch only when a trainer is used."""
    if name in ("run", "RunConfig", "Run"):
        from trainers import run as module

        return module.run if name == "run" else getattr(module, name)
    raise AttributeError(f"module 'trainers' has no attribute {name!r}")
