"""Checkpoint folders: their names, and digests that tell whether a file changed after it was written.

`state.json` of a checkpoint has the SHA-256 of every other file in `files`, and that of its own other entries in
`digest`. Checkpoints without either, as older versions wrote them, are taken as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Final

from protocols.bounded import parse_json

STATE: Final = "state.json"
DIGESTS: Final = "digests.json"
MAX_STATE: Final = 64 << 20
"""Bytes of a state.json: a league's ratings, a curriculum's level, and a line for each file."""
_Stamp = tuple[tuple[str, int, int, int], ...]
_verified: dict[Path, tuple[_Stamp, str]] = {}
"""Checkpoint -> its files as they were when it was verified, and the result."""


def numbered(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder in order; a folder with any other name is none."""
    if not folder.is_dir():
        return []
    paths = [p for p in folder.iterdir() if re.fullmatch("[0-9]{6,18}", p.name) and p.is_dir()]
    return sorted((p for p in paths if p.name == f"{int(p.name):06d}"), key=lambda path: int(path.name))


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write state.json into a checkpoint whose other files are written."""
    whole = {**state, "files": {str(p.relative_to(folder)): _digest(p) for p in _files(folder)}}
    (folder / STATE).write_text(json.dumps({**whole, "digest": _own(whole)}))


def read_state(folder: Path) -> dict[str, Any]:
    """Return the state of a checkpoint; raises OSError or ValueError if it cannot be read or has changed."""
    state = parse_json((folder / STATE).read_bytes(), MAX_STATE)
    if not isinstance(state, dict) or not isinstance(state.get("sizes"), dict):
        raise ValueError("it lacks the sizes of the files that grow")
    digest = state.pop("digest", None)
    if (digest is not None or "files" in state) and digest != _own(state):
        raise ValueError("it has changed since it was written")
    if state.get("update") != int(folder.name):
        raise ValueError(f"it is of update {state.get('update')}")
    if not all(type(size) is int and size >= 0 for size in state["sizes"].values()):
        raise ValueError("its sizes are no numbers")
    return state


def damage(folder: Path) -> str:
    """Return what is wrong with a checkpoint, empty if nothing is; it is read again only if its files changed."""
    stamp = _stamp(folder)
    cached = _verified.get(folder)
    if cached is None or cached[0] != stamp:
        cached = _verified[folder] = (stamp, _damage(folder))
    return cached[1]


def _damage(folder: Path) -> str:
    try:
        files = read_state(folder).get("files", {})
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return f"{STATE}: {reason}"
    return _differing(folder, files)


def _differing(folder: Path, files: Mapping[str, str]) -> str:
    for name, digest in files.items():
        try:
            if _digest(folder / name) != digest:
                return f"{name} has changed since it was written"
        except OSError as error:
            return f"{name}: {error.strerror}"
    return ""


def write_digests(folder: Path) -> None:
    """Note the digests of a folder of frozen weights in it."""
    (folder / DIGESTS).write_text(json.dumps({str(p.relative_to(folder)): _digest(p) for p in _files(folder)}))


def changed(folder: Path) -> str:
    """Return what is wrong with frozen weights, empty if nothing is, or if older versions wrote them."""
    try:
        files = parse_json((folder / DIGESTS).read_bytes(), MAX_STATE)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        return f"{DIGESTS}: {error}"
    return _differing(folder, files) if isinstance(files, dict) else f"{DIGESTS} is no table"


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / STATE)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _own(state: Mapping[str, Any]) -> str:
    return sha256(json.dumps(state).encode()).hexdigest()


def _stamp(folder: Path) -> _Stamp:
    stats = [(str(path), path.stat()) for path in sorted(folder.rglob("*"))]
    return tuple((name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in stats)
