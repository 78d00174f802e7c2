"""Command line that runs a program in bubblewrap, with the same root, limits and refusals as our own sandbox.

`unshare` begins a mount and a network namespace (whose loopback stays down). There a shell lays the new root out below
/mnt, by bind mounts of the files that Python needs, so that the user `nobody` can reach them under root's home too, and
mounts an empty work folder of limited size. `bwrap` adds the other namespaces, and starts `sandbox_inside.py` as
process 1. `setpriv` has the kernel end this chain of programs with the process that started it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from shlex import quote
from shutil import which
from typing import Final

from marl.tools.sandbox_root import Root

NOBODY: Final = "65534"
NAMESPACES: Final = ("user", "pid", "ipc", "uts", "cgroup-try")


def bubblewrap(python: str, root: Root, memory: int, arguments: Sequence[str]) -> list[str]:
    """Return the command that runs Python in bubblewrap; raises ValueError where a program is not installed."""
    programs = {name: which(name) for name in ("bwrap", "unshare", "setpriv", "sh")}
    if missing := [name for name, path in programs.items() if path is None]:
        raise ValueError(f"bubblewrap needs the program {missing[0]}")
    bwrap, unshare, setpriv, shell = map(str, programs.values())
    rights = os.getuid() == 0
    return [
        *(setpriv, "--pdeathsig", "KILL", unshare, "--net", "--mount"),
        *(() if rights else ("--user", "--map-root-user")),
        *(shell, "-c", _stage(root, memory), "stage"),
        *(setpriv, "--pdeathsig", "KILL"),
        *(("--reuid", NOBODY, "--regid", NOBODY, "--clear-groups") if rights else ()),
        *(bwrap, *(f"--unshare-{name}" for name in NAMESPACES), "--disable-userns", "--cap-drop", "ALL"),
        *("--as-pid-1", "--die-with-parent", "--clearenv", "--ro-bind", "/mnt/root", "/", "--bind", "/mnt/tmp", "/tmp"),
        *("--chdir", "/tmp", "--", python, *arguments),
    ]


def _stage(root: Root, memory: int) -> str:
    """Return the shell script that lays out /mnt/root and /mnt/tmp and then runs the command in its arguments."""
    below = {place: quote(f"/mnt/root{place}") for place in (*root.binds, *root.links)}
    folders = {os.path.dirname(place) for place in below} | set(filter(os.path.isdir, root.binds))
    mounts = [f"work /mnt/tmp tmpfs nosuid,nodev,size={max(memory // 16, 1)}m,nr_inodes=1k,mode=777 0 0"]
    mounts += [_bind(source, f"/mnt/root{place}") for place, source in root.binds.items()]
    mounts += [_bind(f"/mnt/no{kind}", f"/mnt/root{place}") for place, kind in root.covered.items()]
    lines = [
        "set -e; umask 022",
        f'[ "$PPID" = {os.getpid()} ] || exit 1',  # the caller has ended before setpriv could ask for a signal
        "mount -t tmpfs -o nosuid,nodev,size=1m,mode=755 stage /mnt",
        f"mkdir -p /mnt/tmp /mnt/root/tmp /mnt/nofolder {' '.join(quote(f'/mnt/root{path}') for path in folders)}",
        *(f": > {name}" for place, name in below.items() if place in root.binds and os.path.isfile(place)),
        *(f"ln -s {quote(target)} {below[place]}" for place, target in root.links.items()),
        f": > /mnt/nofile; printf '%s\\n' {quote(chr(10).join(mounts))} > /mnt/mounts; mount -a -T /mnt/mounts",
        'exec "$@"',
    ]
    return "\n".join(lines)


def _bind(source: str, target: str) -> str:
    """Return a line of fstab(5) for a bind mount."""
    names = (re.sub(r"[\s\\]", lambda match: f"\\{ord(match[0]):03o}", name) for name in (source, target))
    return f"{' '.join(names)} none rbind 0 0"
