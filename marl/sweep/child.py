"""The process of one run: `marl train RUN`, until it is done or its standard input ends.

Standard input is a pipe that the sweep holds open. It ends when the sweep wants its runs to stop, and when the sweep is
killed: either way the run stops after the present update, with a checkpoint.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from marl.cli import main


def _interrupt_at_end_of_input() -> None:
    while os.read(0, 1):  # not sys.stdin, whose lock would be held when the process ends
        pass
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    threading.Thread(target=_interrupt_at_end_of_input, daemon=True).start()
    main(["train", sys.argv[1], "--no-report"])
