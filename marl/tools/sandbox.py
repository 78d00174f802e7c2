"""Sandbox for Python code: a process that sees no files but the standard library, and no network.

The process has namespaces of its own (user, mount, pid, network, ipc, host name), is `nobody` where we are root, and
has limits on memory, processor time, processes and the size of files. A seccomp filter (`marl/tools/seccomp.py`) leaves
the system calls that Python needs. All its processes die with the first one, and that one with the process that
started it. It needs Linux, and the right of unprivileged users to create user namespaces.

Two backends do the same: `bubblewrap` where the program `bwrap` is installed, else `namespaces`, our own code. Neither
protects against errors in the kernel or against side channels.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import signal
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from marl.tools.bubblewrap import bubblewrap
from marl.tools.sandbox_root import visible_root
from marl.tools.seccomp import filter_program

Backend = Literal["bubblewrap", "namespaces"]
INSIDE: Final = Path(__file__).with_name("sandbox_inside.py")
OPTIONS: Final[dict[str, Any]] = {"env": {}, "cwd": "/", "start_new_session": True}
MOST_OUTPUT: Final = 1 << 16
"""Bytes; a program that prints more is stopped."""
START: Final = 20.0
"""Real seconds until the sandbox must be ready."""
READY: Final = b"\x06"
"""First byte of the output: the sandbox is ready, and the program starts."""


class Limits(NamedTuple):
    """What a program may use."""

    seconds: float = 5.0
    """Real time."""
    memory: int = 256
    """MiB of each process: 15/16 of it are address space, 1/16 are files in /tmp."""
    processes: int = 0
    """How many more processes or threads it may start."""


class Done(NamedTuple):
    """Result of a program: output and errors as printed, and why it ended early; "" if it did not."""

    output: str
    error: str = ""


@cache
def backend() -> Backend:
    """Return the backend that this machine allows, bubblewrap first; raises ValueError if there is none."""
    with suppress(ValueError):
        check(Limits(), "bubblewrap")
        return "bubblewrap"
    check(Limits(), "namespaces")
    return "namespaces"


def check(limits: Limits, by: Backend | None = None) -> None:
    """Run an empty program; raises ValueError, in a sentence, where a sandbox with these limits does not start."""
    if not limits.seconds > 0 or limits.memory < 64 or limits.processes < 0:
        raise ValueError("a sandbox needs seconds > 0, memory >= 64 (MiB) and processes >= 0")
    command = _command(limits, by or backend())
    try:
        done = subprocess.run(command, input=b"", capture_output=True, timeout=30, check=False, **OPTIONS)
    except (OSError, subprocess.SubprocessError) as error:
        raise ValueError(f"the sandbox cannot be started here ({error})") from None
    if done.stdout != READY:
        why = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
        raise ValueError(f"this machine does not allow a sandbox ({why[0]}): it needs user namespaces")


def _command(limits: Limits, by: Backend) -> list[str]:
    if sys.platform != "linux":
        raise ValueError("the sandbox needs Linux")
    python = os.path.realpath(sys._base_executable)  # type: ignore[attr-defined]
    root, calls = visible_root(python), filter_program(platform.machine()).hex()
    arguments = ["-I", "-S", "-B", "-c", INSIDE.read_text(), *map(str, limits), calls]
    if by == "bubblewrap":
        return bubblewrap(python, root, limits.memory, arguments)
    return [python, *arguments, str(os.getpid()), json.dumps(root)]


async def run(code: str, limits: Limits, by: Backend | None = None) -> Done:
    """Run a program in a new sandbox, in real time; this returns whatever the program does."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *_command(limits, by or backend()), stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT, **OPTIONS
    )
    assert process.stdin is not None
    assert process.stdout is not None
    output, error = bytearray(), ""
    try:
        async with asyncio.timeout(START) as clock:
            with suppress(ConnectionError):
                process.stdin.write(code.encode("utf-8", "replace"))
                process.stdin.write_eof()
            output += await process.stdout.read(1)  # the program starts, and so does its time
            clock.reschedule(asyncio.get_running_loop().time() + limits.seconds)
            while len(output) <= MOST_OUTPUT and (part := await process.stdout.read(1 << 14)):
                output += part
            if len(output) > MOST_OUTPUT:
                error = f"it printed more than {MOST_OUTPUT} bytes"
            else:
                await process.wait()
    except TimeoutError:
        error = f"it ran longer than {limits.seconds:g} s"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its namespaces and all processes in them end with it
        while await process.stdout.read(1 << 14):  # asyncio's `wait` needs the whole output to be read
            pass
        await process.wait()
    ready = output.startswith(READY)
    text = output[ready : MOST_OUTPUT + 1].decode("utf-8", "replace")
    if not ready and not error:
        error = "the sandbox did not start"
    if not error and process.returncode:
        error = f"it ended with status {process.returncode}"
    return Done(text, error)
