"""Command line that runs a program in bubblewrap, with the same root, limits and refusals as our own sandbox.

`unshare` begins a mount and a network namespace (whose loopback stays down). There a shell mounts an empty work folder
of limited size and copies by bind mounts what Python needs, so that the user `nobody` can reach it under root's home
too. `bwrap` adds the other namespaces, and starts `sandbox_inside.py` as process 1.
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from shutil import which
from typing import Final

NOBODY: Final = "65534"
LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
STAGE: Final = """
set -e
mount -t tmpfs -o nosuid,nodev,size=1m,mode=755 stage /mnt
mkdir /mnt/tmp
mount -t tmpfs -o nosuid,nodev,size="$1"m,nr_inodes=1k,mode=777 work /mnt/tmp
shift
while [ "$1" != -- ]; do
  if [ -d "$1" ]; then mkdir -p "/mnt$1"; else mkdir -p "/mnt${1%/*}"; : > "/mnt$1"; fi
  mount --rbind "$1" "/mnt$1"
  shift
done
shift
exec "$@"
"""
"""Shell script: arguments are the MiB of the work folder, paths to bind below /mnt, `--`, and a command."""
NAMESPACES: Final = ("user", "pid", "ipc", "uts", "cgroup-try")


def bubblewrap(python: str, memory: int, arguments: Sequence[str]) -> list[str]:
    """Return the command that runs Python in bubblewrap; raises ValueError where a program is not installed."""
    programs = {name: which(name) for name in ("bwrap", "unshare", "setpriv", "sh")}
    if missing := [name for name, path in programs.items() if path is None]:
        raise ValueError(f"bubblewrap needs the program {missing[0]}")
    bwrap, unshare, setpriv, shell = map(str, programs.values())
    root = os.getuid() == 0
    paths = _python_files(python)
    binds = ["--bind", "/mnt/tmp", "/tmp"]
    for path in filter(os.path.isdir, LIBRARIES):
        binds += ["--symlink", os.readlink(path), path] if os.path.islink(path) else ["--ro-bind", path, path]
    for path in paths:
        binds += ["--ro-bind", f"/mnt{path}", path]
    return [
        *(unshare, "--net", "--mount", *(() if root else ("--user", "--map-root-user"))),
        *(shell, "-c", STAGE, "stage", str(max(memory // 16, 1)), *paths, "--"),
        *((setpriv, "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups") if root else ()),
        *(bwrap, *(f"--unshare-{name}" for name in NAMESPACES), "--disable-userns", "--cap-drop", "ALL"),
        *("--as-pid-1", "--die-with-parent", "--clearenv", *binds, "--remount-ro", "/", "--chdir", "/tmp", "--"),
        *(python, *arguments, "isolated"),
    ]


def _python_files(python: str) -> list[str]:
    """Return what Python needs that does not lie in a system library folder: itself, its library, the standard one."""
    shared = Path(sysconfig.get_config_var("LIBDIR") or "/", sysconfig.get_config_var("INSTSONAME") or "-")
    paths = [python, sysconfig.get_path("stdlib"), *([str(shared)] if shared.is_file() else [])]
    return [path for path in paths if not path.startswith(tuple(f"{folder}/" for folder in LIBRARIES))]
