"""Provenance of a run: the versions, the command and the dates with which it was started and resumed."""

from __future__ import annotations

import json
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

PACKAGES: Final = ("sabir", "torch", "transformers", "numpy", "pettingzoo", "peft")
"""Distributions whose version can change a result."""


def versions() -> dict[str, str]:
    """Return the version of Python and of each of PACKAGES that is installed, without importing them."""
    numbers = {}
    for name in PACKAGES:
        try:
            numbers[name] = version(name)
        except PackageNotFoundError:  # an optional one, or a checkout that is not installed
            continue
    return {**numbers, "python": platform.python_version()}


def record(path: Path, update: int) -> None:
    """Append a line to `provenance.jsonl`: a process begins to train the run of this folder, after `update` updates."""
    line: dict[str, Any] = {
        "update": update,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "versions": versions(),
        "platform": platform.platform(),
    }
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
