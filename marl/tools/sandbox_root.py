"""Files that the sandbox shows: the interpreter, the standard library, and the shared libraries these load.

A probe, once per process, loads all extension modules of the standard library and asks the dynamic loader which shared
libraries that took (`dl_iterate_phdr`), so that nothing else of the system's library folders needs to be visible.
Within the standard library's folder other people's packages (site-packages, dist-packages, wheels) are covered.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from typing import Final, NamedTuple

PROBE: Final = """
import ctypes, json, os, sys

class Info(ctypes.Structure):
    _fields_ = [("address", ctypes.c_void_p), ("name", ctypes.c_char_p)]

folders = [folder for folder in sys.path if os.path.isdir(folder)]
modules = [os.path.join(folder, name) for folder in folders for name in os.listdir(folder) if ".so" in name]
for library in [*modules, "libgcc_s.so.1"]:  # glibc loads the last one when a thread ends
    try:
        ctypes.CDLL(library)
    except OSError:  # a module whose library is not installed
        pass
names = []
visit = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Info), ctypes.c_size_t, ctypes.c_void_p)
ctypes.CDLL(None).dl_iterate_phdr(visit(lambda info, size, data: names.append(info.contents.name.decode()) or 0), None)
print(json.dumps([folders, [name for name in names if name.startswith("/")]]))
"""
"""Prints the folders of the standard library and the paths by which shared libraries were loaded."""
OURS: Final = ("lib-dynload", "__pycache__", "__hello__", "__phello__", "_distutils_system_mod", "LICENSE")
"""What stands beside the modules of the standard library and belongs to it."""
LOCALE: Final = ("/usr/lib/locale/C.utf8", "/usr/lib/locale/C.UTF-8")
"""The only locale that the sandbox has."""
WHEELS: Final = "ensurepip/_bundled"
"""Folder of pip's wheel, from which programs could import it."""


class Root(NamedTuple):
    """What is visible below `/`; all paths are absolute."""

    links: dict[str, str]
    """Symbolic links, such as /lib -> usr/lib."""
    binds: dict[str, str]
    """Files and folders outside, by their place inside."""
    covered: dict[str, str]
    """Places within those that stay empty: `file` or `folder` by path."""


@cache
def visible_root(python: str) -> Root:
    """Return what an interpreter needs to run and to import all of its standard library; ValueError if it fails."""
    command = [python, "-I", "-S", "-B", "-c", PROBE]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True, env={})
    except (OSError, subprocess.SubprocessError) as error:
        raise ValueError(f"the sandbox cannot find Python's files ({error})") from None
    folders, libraries = json.loads(done.stdout)
    links: dict[str, str] = {}
    binds: dict[str, str] = {}
    for path in sorted(
        {python, *folders, *libraries, *filter(os.path.isdir, LOCALE)}, key=lambda path: (not os.path.isdir(path), path)
    ):
        place = _place(path, links)
        if not any(place.startswith(f"{other}/") for other in binds):
            binds[place] = os.path.realpath(path)
    covered = {}
    for place, source in binds.items():
        if source not in map(os.path.realpath, folders):
            continue
        covered.update({f"{place}/{name}": kind for name, kind in _others(source).items()})
    return Root(links, binds, covered)


def _place(path: str, links: dict[str, str]) -> str:
    """Return a path whose folders are no symbolic links, and add those on the way to `links`."""
    todo, place = path.strip("/").split("/"), ""
    while len(todo) > 1:
        name = todo.pop(0)
        if name == "..":
            place = os.path.dirname(place.rstrip("/")).rstrip("/")
        elif name not in ("", "."):
            if os.path.islink(inner := f"{place}/{name}"):
                links[inner] = target = os.readlink(inner)
                place, todo = "" if target.startswith("/") else place, [*target.strip("/").split("/"), *todo]
            else:
                place = inner
    return f"{place}/{todo[0]}"


def _others(folder: str) -> dict[str, str]:
    """Return what lies in a folder of the standard library and is not of it. Links are left out: they lead nowhere."""
    if os.path.basename(folder) == "lib-dynload":
        return {}
    with os.scandir(folder) as entries:
        others = [entry for entry in entries if not (_is_standard(entry.name) or entry.is_symlink())]
    kinds = {entry.name: "folder" if entry.is_dir() else "file" for entry in others}
    return kinds | ({WHEELS: "folder"} if os.path.isdir(f"{folder}/{WHEELS}") else {})


def _is_standard(name: str) -> bool:
    return name.partition(".")[0] in {*sys.stdlib_module_names, *OURS} or name.startswith("_sysconfigdata_")
