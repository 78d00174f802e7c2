"""Paths in configurations: a relative one begins at the configuration's folder, `~` is the home folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def beside(value: str, base: Path) -> str:
    """Return the path of a file or folder that lies at `value` from `base`; `value` itself if there is none.

    What is not there may be something else, such as a model on the hub, or lie in the working directory.
    """
    try:
        path = Path(value).expanduser()
        if path.is_absolute():
            return value if path == Path(value) else str(path)
        there = base / path
        return str(there.absolute()) if there.exists() and there.absolute() != path.absolute() else value
    except (OSError, RuntimeError, ValueError):  # too long for a path; nobody's home; a null byte
        return value


def anchored(scenario: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Return a scenario whose graphs and folders of documents are found from any working directory."""
    result = dict(scenario)
    if isinstance(topology := scenario.get("topology"), Mapping):
        result["topology"] = _topology(topology, base)
    if isinstance(tools := scenario.get("tools"), Mapping):
        result["tools"] = {name: _at(tool, "folder", base) for name, tool in tools.items()}
    return result


def _topology(topology: Mapping[str, Any], base: Path) -> dict[str, Any]:
    graphs = topology.get("graphs")
    if isinstance(graphs, list):
        return {**topology, "graphs": [_at(graph, "path", base) for graph in graphs]}
    return {**_at(topology, "path", base)}


def _at(settings: Any, key: str, base: Path) -> Any:
    """Return settings in which the path under a key is found from anywhere."""
    value = settings.get(key) if isinstance(settings, Mapping) else None
    return {**settings, key: beside(value, base)} if isinstance(value, str) and value else settings
