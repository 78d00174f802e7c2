"""Processes that take turns, to time libraries side by side that need different environments (not a benchmark)."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any


class Pace:
    """In a process that takes turns: says what it did, and waits until it is its turn again."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # whatever else is printed goes elsewhere
        self._began, self._cpu = time.perf_counter(), time.process_time()

    def wait(self, tokens: int) -> None:
        """End a turn in which so many tokens were drawn; the process is over when nobody asks for another."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts KiB
        spent = {"seconds": time.perf_counter() - self._began, "cpu_seconds": time.process_time() - self._cpu}
        row = spent | {"tokens": tokens, "peak_gib": round(peak, 2)}
        print(json.dumps(row), file=self._out, flush=True)
        if not sys.stdin.readline():
            os._exit(0)  # in the midst of another library's loop
        self._began, self._cpu = time.perf_counter(), time.process_time()


class Lane:
    """A process that takes turns, seen from outside."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `close`
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )

    def row(self) -> dict[str, Any]:
        """Wait for the end of a turn; exits with what the process said if there is none."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            sys.exit(f"{self.name} failed:\n{self._errors.read()[-3000:]}")
        row: dict[str, Any] = json.loads(line)
        return row

    def turn(self) -> dict[str, Any]:
        """Let it have a turn."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self.row()

    def close(self) -> None:
        """Let it end."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()
