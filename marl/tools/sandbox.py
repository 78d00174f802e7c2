"""A sandbox for Python code: a process of its own that sees no files but the standard library's, and no network.

It lives in namespaces of its own (user, mount, pid, network, ipc, host name), as nobody where we are root, and under
limits on memory, processor time, processes and the size of files. Its processes die with their first one.
It needs Linux with user namespaces that unprivileged users may make, and the command `unshare`; else it refuses.

What it does not hold against: errors in the kernel (all system calls are allowed), and side channels.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

INSIDE: Final = Path(__file__).with_name("sandbox_inside.py")
OPTIONS: Final[dict[str, Any]] = {"env": {}, "cwd": "/", "start_new_session": True}
MOST_OUTPUT: Final = 1 << 16
"""Bytes; code that prints more is stopped."""
START: Final = 20.0
"""Real seconds until the walls must stand."""
READY: Final = b"\x06"
"""The first byte of the output: the walls stand."""


class Limits(NamedTuple):
    """What code may use."""

    seconds: float = 5.0
    """Real time."""
    memory: int = 256
    """MiB of address space of each process, and a sixteenth of it for files in /tmp."""
    processes: int = 0
    """How many more processes or threads it may start."""


class Done(NamedTuple):
    """What came of it: output and errors as printed, and why it ended early; "" if it did not."""

    output: str
    error: str = ""


def _command(limits: Limits) -> list[str]:
    if sys.platform != "linux":
        raise ValueError("the sandbox needs Linux")
    python = os.path.realpath(sys._base_executable)  # type: ignore[attr-defined]
    return [python, "-I", "-S", "-B", "-c", INSIDE.read_text(), *map(str, limits)]


def check(limits: Limits) -> None:
    """Run a trivial program; raises ValueError, in a sentence, where the walls cannot be put up."""
    if not limits.seconds > 0 or limits.memory < 64 or limits.processes < 0:
        raise ValueError("a sandbox needs seconds > 0, memory >= 64 (MiB) and processes >= 0")
    try:
        done = subprocess.run(_command(limits), input=b"", capture_output=True, timeout=30, check=False, **OPTIONS)
    except (OSError, subprocess.SubprocessError) as error:
        raise ValueError(f"the sandbox cannot be started here ({error})") from None
    if done.stdout != READY:
        why = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
        raise ValueError(f"this machine does not allow a sandbox ({why[0]}): it needs user namespaces")


async def run(code: str, limits: Limits) -> Done:
    """Run a program in a sandbox of its own, in real time; whatever it does, this returns."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *_command(limits), stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT, **OPTIONS
    )
    assert process.stdin is not None
    assert process.stdout is not None
    output, error = bytearray(), ""
    try:
        async with asyncio.timeout(START) as clock:
            with suppress(ConnectionError):
                process.stdin.write(code.encode("utf-8", "replace"))
                process.stdin.write_eof()
            output += await process.stdout.read(1)  # the walls stand: the program's time begins
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
            os.killpg(process.pid, signal.SIGKILL)  # its namespaces go with it, and all processes in them
        while await process.stdout.read(1 << 14):  # asyncio's `wait` waits for the end of what was printed
            pass
        await process.wait()
    walls = output.startswith(READY)
    text = output[walls : MOST_OUTPUT + 1].decode("utf-8", "replace")
    if not walls and not error:
        error = "the sandbox did not come up"
    if not error and process.returncode:
        error = f"it ended with status {process.returncode}"
    return Done(text, error)
