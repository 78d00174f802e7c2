"""Run a sweep: each run in its own process, several at once, resumable.

The processes are forked from one that has loaded PyTorch already (multiprocessing's fork server): to load it takes as
long as many a short run.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any, Final, NamedTuple

import tomli_w

from marl.rundir.lock import locked
from marl.sweep.child import Main, work
from marl.sweep.plan import SweepRun

POLL: Final = 0.2
"""Seconds between looks at the processes."""
INTERRUPTED: Final = 130
TAIL: Final = 1 << 16
"""Bytes at the end of a file of metrics that hold its last line."""
OUTPUT: Final = "output.txt"


class Failure(NamedTuple):
    """A failed run and the reason."""

    member: SweepRun
    reason: str


class Standing(NamedTuple):
    """Progress of a sweep: `work` is the share of updates done, summed over runs."""

    finished: int
    failed: int
    running: list[SweepRun]
    work: float


class RunProcess(NamedTuple):
    """A run in progress."""

    member: SweepRun
    process: ForkServerProcess
    hold: Connection
    """It stops when this is closed."""


def run(
    folder: Path,
    members: Sequence[SweepRun],
    jobs: int,
    main: Main,
    report: Callable[[Standing], None] = lambda _: None,
) -> list[Failure]:
    """Run all unfinished runs to their end and return the failures.

    Ctrl-C stops every run after its present update, with a checkpoint, and is then raised as KeyboardInterrupt; a
    second one kills them. Raises UserError if another process is running the sweep.

    Args:
        folder: of the sweep.
        members: its runs, in the order in which they are begun.
        jobs: how many run at once.
        main: the `marl` command, a function of a module: it is called in processes that import it by name.
        report: called with the progress, several times a second.
    """
    waiting = [member for member in members if not member.dir.finished]
    finished, failures = len(members) - len(waiting), list[Failure]()
    children: list[RunProcess] = []
    context = get_context("forkserver")
    context.set_forkserver_preload(["trainers.run", work.__module__, main.__module__])
    refusal = f"{folder}: a sweep is running there, or was killed and its runs are still stopping: wait for them"
    with locked(folder, refusal) as lock:
        try:
            while waiting or children:
                while waiting and len(children) < jobs:
                    children.append(_start(context, waiting.pop(0), lock, main))
                for ended in [child for child in children if child.process.exitcode is not None]:
                    children.remove(ended)
                    failure = _end(ended)
                    finished, failures = finished + (failure is None), failures + ([failure] if failure else [])
                running = [child.member for child in children]
                done = finished + len(failures) + sum(map(_share, running))
                report(Standing(finished, len(failures), running, done))
                if children:
                    time.sleep(POLL)
        except BaseException:
            _stop(children)
            raise
    return failures


def _start(context: ForkServerContext, member: SweepRun, lock: int, main: Main) -> RunProcess:
    folder = member.dir
    folder.path.mkdir(parents=True, exist_ok=True)
    if not folder.exists:
        settings: dict[str, Any] = {**member.cell.settings, "seed": member.seed, "out": str(folder.path)}
        folder.config.write_text(tomli_w.dumps(settings))
    output = folder.path / OUTPUT
    output.write_bytes(b"")
    stop, hold = context.Pipe(duplex=False)
    pipes = (stop, Connection(os.dup(lock)))  # file descriptors travel as connections
    process = context.Process(target=work, args=(main, str(folder.path), output, *pipes))
    process.start()
    for pipe in pipes:
        pipe.close()
    return RunProcess(member, process, hold)


def _end(ended: RunProcess) -> Failure | None:
    """Return the failure of an ended run, or None; its output is kept only after a failure."""
    member, process, hold = ended
    hold.close()
    code = process.exitcode
    assert code is not None
    output = member.dir.path / OUTPUT
    if code == 0 and member.dir.finished:
        output.unlink(missing_ok=True)
        return None
    if code < 0:
        return Failure(member, f"killed by signal {-code}")
    if code == INTERRUPTED:
        return Failure(member, "it was interrupted")
    lines = [line for line in output.read_text(errors="replace").splitlines() if line.strip()]
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return Failure(member, (said or lines or [f"it ended with code {code}"])[-1])


def _stop(children: Sequence[RunProcess]) -> None:
    """Stop all runs after their current update; kill them on a second interrupt."""
    for child in children:
        child.hold.close()
    try:
        for child in children:
            child.process.join()
    except BaseException:
        for child in children:
            child.process.kill()
        for child in children:
            child.process.join()
        raise


def _share(member: SweepRun) -> float:
    """Return the share of its updates that a run has done."""
    path = member.dir.metrics
    try:
        with path.open("rb") as file:
            file.seek(max(os.fstat(file.fileno()).st_size - TAIL, 0))
            lines = file.read().split(b"\n")
        return float(json.loads(lines[-2])["update"] / member.cell.settings["updates"])
    except (OSError, ValueError, IndexError, KeyError):
        return 0.0  # nothing measured yet
