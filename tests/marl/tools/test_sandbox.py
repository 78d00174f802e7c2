"""The sandbox holds: what bombs and burglars try inside, and what is left outside when they are done."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any, Final

import pytest

from marl.tools.python import python
from marl.tools.sandbox import MOST_OUTPUT, Done, Limits, check, run


@pytest.fixture(scope="module", autouse=True)
def allowed() -> None:
    try:
        check(Limits())
    except ValueError as error:
        pytest.skip(str(error))


OURS: Final = os.getpid() * 1e-12
"""Seconds by which our sandboxes can be told from those of tests that run beside."""


def go(code: str, seconds: float = 5.0, **limits: Any) -> Done:
    return asyncio.run(run(code, Limits(seconds + OURS, **limits)))


def processes() -> list[str]:
    """Every process of this machine whose command line is that of a sandbox of ours."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found.append((folder / "cmdline").read_text())
        except OSError:
            continue
    marks = [f"\0{seconds + OURS}\0" for seconds in (0.3, 5.0)]
    return [each for each in found if any(mark in each for mark in marks)]


def gone() -> bool:
    """Whether nothing is left of our sandboxes; the kernel may take a moment to bury what was killed."""
    for _ in range(500):
        if not processes():
            return True
        time.sleep(0.02)
    return False


def test_a_program_runs_and_its_output_comes_back() -> None:
    assert go("import math, json; print(json.dumps([1, math.floor(2.5)]))") == Done("[1, 2]\n")
    assert go("open('/tmp/x', 'w').write('mine'); print(open('/tmp/x').read())") == Done("mine\n")
    failed = go("print(1 / 0)")
    assert failed.error == "it ended with status 1"
    assert "ZeroDivisionError" in failed.output
    assert go("import sys; sys.exit(3)").error == "it ended with status 3"


def test_a_fork_bomb_and_a_thread_bomb_find_no_room() -> None:
    for allowed in (0, 4):
        done = go(
            "import os, time\nn = 0\ntry:\n while n < 500:\n  if os.fork() == 0: time.sleep(60)\n  n += 1\n"
            "except OSError: print(n)",
            processes=allowed,
        )
        assert done == Done(f"{allowed}\n")
    assert "can't start new thread" in go("import threading; threading.Thread(target=print).start()").output
    assert gone()


def test_processes_that_hide_end_with_the_program() -> None:
    code = "import os, time\nif os.fork() == 0:\n os.setsid()\n os.fork()\n time.sleep(60)\nprint('gone')"
    assert go(code, processes=3) == Done("gone\n")
    assert gone()


def test_a_memory_bomb_fails_alone() -> None:
    assert "MemoryError" in go("x = bytearray(1 << 33)").output
    assert "MemoryError" in go("x = []\nwhile True: x.append(bytearray(1 << 20))").output
    assert (
        "No space left" in go("while True:\n for i in range(9): open(f'/tmp/{i}', 'ab').write(bytes(1 << 20))").output
    )


def test_time_bombs_are_stopped() -> None:
    for code in ("while True: pass", "import time; time.sleep(60)", "import signal; signal.pause()"):
        assert go(code, seconds=0.3).error == "it ran longer than 0.3 s"
    assert gone()


def test_a_flood_of_output_is_cut() -> None:
    for _ in range(20):  # its end must be found wherever in the flood the reader stopped
        done = go("while True: print('x' * 1000)")
        assert done.error == f"it printed more than {MOST_OUTPUT} bytes"
        assert len(done.output) <= MOST_OUTPUT + 1


def test_no_file_outside_can_be_read_or_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    secret = tmp_path / "secret"
    secret.write_text("secret")
    secret.chmod(0o666)
    for path in (str(secret), "/etc/passwd", "/proc/1/environ", "/dev/null", __file__):
        assert "FileNotFoundError" in go(f"open({path!r}).read()").output
    assert "Read-only file system" in go("open('/usr/lib/x', 'w')").output
    assert "Read-only file system" in go("open('/x', 'w')").output
    assert go("import os; print(sorted(os.listdir('/')), os.listdir('/tmp'))").output.count("home") == 0
    up = "import os\nfor _ in range(64): os.chdir('..')\nprint(os.path.exists('etc'), os.path.exists('proc'))"
    assert go(up) == Done("False False\n")
    assert sorted(tmp_path.iterdir()) == [secret]
    assert secret.read_text() == "secret"


def test_there_is_no_network() -> None:
    assert "unreachable" in go("import socket; socket.create_connection(('127.0.0.1', 1))").output
    assert "unreachable" in go("import socket; socket.create_connection(('1.1.1.1', 53), 1)").output
    assert "lo" in go("import socket; print([name for _, name in socket.if_nameindex()])").output


def test_rights_cannot_be_had_back() -> None:
    code = """
import ctypes, os
libc = ctypes.CDLL(None)
print(libc.unshare(1 << 28), libc.unshare(0x20000), libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))
print(libc.chroot(b"/tmp"), libc.sethostname(b"x", 1), libc.ptrace(16, 1, 0, 0), libc.kill(1, 9))
print(os.getpid())
"""
    assert go(code).output.split() == ["-1"] * 7 + ["2"]


def test_the_tool_says_what_was_printed_or_what_went_wrong() -> None:
    tool = python(seconds=0.5)
    loop = asyncio.new_event_loop()
    try:
        assert loop.run_until_complete(tool.call(code="print(6 * 7)")) == "42"
        assert loop.run_until_complete(tool.call(code="")) == "(it printed nothing)"
        with pytest.raises(Exception, match="it ran longer than"):
            loop.run_until_complete(tool.call(code="while 1: pass"))
    finally:
        loop.close()
    assert os.getpid() > 0
