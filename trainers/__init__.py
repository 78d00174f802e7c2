"""Training: algorithms, credit, populations, cultural transmission, and `run`, which composes them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from arenas.moved import still_found

still_found({f"trainers.{name}": f"trainers.transmission.{name}" for name in ("drift", "generations", "teaching")})


def __getattr__(name: str) -> Any:
    """Import torch only when a trainer is used."""
    if name in ("run", "RunConfig", "Run"):
        module = import_module("trainers.run")
        return module if name == "run" else getattr(module, name)
    raise AttributeError(f"module 'trainers' has no attribute {name!r}")
