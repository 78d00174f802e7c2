"""Child process of a sweep: runs `marl train RUN` until it is done or the sweep stops it.

`stop` is the end of a pipe whose other end the sweep holds. That one closes when the sweep wants its runs to stop, and
when the sweep is killed: either way the run stops after the present update, with a checkpoint.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

Main = Callable[[Sequence[str]], None]
"""The `marl` command: it runs command-line words and exits the process."""


def work(main: Main, folder: str, output: Path, stop: Connection, lock: Connection) -> None:
    """Train the run of a folder; its output goes to the file `output`.

    `lock` is the sweep's lock file: as long as this process has it open, the folder is taken.
    """
    os.setsid()  # Ctrl-C reaches the sweep, which stops its runs itself
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a sweep in the background of a shell ignores it
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    threading.Thread(target=_interrupt_at_end, args=(stop,), daemon=True).start()
    main(["train", folder, "--no-report"])


def _interrupt_at_end(stop: Connection) -> None:
    stop.poll(None)  # nothing is ever sent
    os.kill(os.getpid(), signal.SIGINT)
