"""Both backends of the sandbox: what bombs and burglars try inside, and what is left outside when they are done."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from shutil import which
from typing import Any, Final

import pytest

from marl.tools.python import python
from marl.tools.sandbox import MOST_OUTPUT, Backend, Done, Limits, backend, check, run

Go = Callable[..., Done]
OURS: Final = os.getpid() * 1e-12
"""Seconds by which our sandboxes can be told from those of tests that run beside."""


@pytest.fixture(scope="module", params=["bubblewrap", "namespaces"])
def go(request: pytest.FixtureRequest) -> Go:
    """Run a program in one backend, skipped only where its program or the right to a sandbox is missing."""
    by: Backend = request.param
    if by == "bubblewrap" and which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    try:
        check(Limits(), by)
    except ValueError as error:
        pytest.skip(str(error))

    def go(code: str, seconds: float = 5.0, **limits: Any) -> Done:
        return asyncio.run(run(code, Limits(seconds + OURS, **limits), by))

    return go


def processes() -> list[str]:
    """Return the command lines of the processes of our sandboxes."""
    lines = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            lines.append((folder / "cmdline").read_text())
        except OSError:
            continue
    marks = [f"\0{seconds + OURS}\0" for seconds in (0.3, 5.0)]
    return [line for line in lines if any(mark in line for mark in marks)]


def gone() -> bool:
    """Wait until nothing is left of our sandboxes; the kernel may take a moment to reap killed processes."""
    for _ in range(500):
        if not processes():
            return True
        time.sleep(0.02)
    return False


def test_a_program_runs_and_its_output_comes_back(go: Go) -> None:
    assert go("import math, json; print(json.dumps([1, math.floor(2.5)]))") == Done("[1, 2]\n")
    assert go("open('/tmp/x', 'w').write('mine'); print(open('/tmp/x').read())") == Done("mine\n")
    failed = go("print(1 / 0)")
    assert failed.error == "it ended with status 1"
    assert "ZeroDivisionError" in failed.output
    assert go("import sys; sys.exit(3)").error == "it ended with status 3"


def test_a_fork_bomb_and_a_thread_bomb_find_no_room(go: Go) -> None:
    for allowed in (0, 4):
        done = go(
            "import os, time\nn = 0\ntry:\n while n < 500:\n  if os.fork() == 0: time.sleep(60)\n  n += 1\n"
            "except OSError: print(n)",
            processes=allowed,
        )
        assert done == Done(f"{allowed}\n")
    assert "can't start new thread" in go("import threading; threading.Thread(target=print).start()").output
    assert gone()


def test_processes_that_hide_end_with_the_program(go: Go) -> None:
    code = "import os, time\nif os.fork() == 0:\n os.setsid()\n os.fork()\n time.sleep(60)\nprint('gone')"
    assert go(code, processes=3) == Done("gone\n")
    assert gone()


def test_a_memory_bomb_fails_alone(go: Go) -> None:
    assert "MemoryError" in go("x = bytearray(1 << 33)").output
    assert "MemoryError" in go("x = []\nwhile True: x.append(bytearray(1 << 20))").output
    assert (
        "No space left" in go("while True:\n for i in range(9): open(f'/tmp/{i}', 'ab').write(bytes(1 << 20))").output
    )


def test_time_bombs_are_stopped(go: Go) -> None:
    for code in ("while True: pass", "import time; time.sleep(60)", "import signal; signal.pause()"):
        assert go(code, seconds=0.3).error == "it ran longer than 0.3 s"
    assert gone()


def test_a_flood_of_output_is_cut(go: Go) -> None:
    for _ in range(20):  # its end must be found wherever in the flood the reader stopped
        done = go("while True: print('x' * 1000)")
        assert done.error == f"it printed more than {MOST_OUTPUT} bytes"
        assert len(done.output) <= MOST_OUTPUT + 1


def test_no_file_outside_can_be_read_or_written(go: Go, tmp_path: Path) -> None:
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


def test_there_is_no_network(go: Go) -> None:
    assert "unreachable" in go("import socket; socket.create_connection(('127.0.0.1', 1))").output
    assert "unreachable" in go("import socket; socket.create_connection(('1.1.1.1', 53), 1)").output
    assert go("import socket; print(socket.if_indextoname(1))") == Done("lo\n")
    assert "No such device" in go("import socket; print(socket.if_indextoname(2))").output


def test_rights_cannot_be_had_back(go: Go) -> None:
    code = """
import ctypes, os
libc = ctypes.CDLL(None)
print(libc.unshare(1 << 28), libc.unshare(0x20000), libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))
print(libc.chroot(b"/tmp"), libc.sethostname(b"x", 1), libc.ptrace(16, 1, 0, 0), libc.setgroups(0, None))
for right in range(41): libc.prctl(47, 2, right, 0, 0)
print(libc.prctl(39, 0, 0, 0, 0), sum(max(libc.prctl(23, right, 0, 0, 0), 0) for right in range(41)))
libc.kill(1, 9)
print(os.getpid())
"""
    assert go(code).output.split() == ["-1"] * 7 + ["1", "0", "2"]


def test_what_a_program_sees_is_the_same_in_both(go: Go) -> None:
    code = (
        "import os; print(os.getcwd(), os.listdir('/tmp'), sorted(os.environ), os.path.exists('/usr/lib/os-release'))"
    )
    assert go(code) == Done("/tmp [] ['LC_CTYPE'] False\n")
    assert go("import os; print(os.getuid() in (0, 65534), os.getpid(), os.getppid())") == Done("True 2 1\n")
    assert go("import os; os.kill(os.getpid(), 9)").error == "it ended with status 247"
    assert go("import sys; print(sys.argv, __name__, sys.stdin.read())") == Done("['program'] __main__ \n")
    assert go("import resource as r; print(*(r.getrlimit(i)[1] for i in (0, 1, 4, 7, 8, 9, 12)))", memory=64) == (
        Done("7 4194304 0 64 0 62914560 0\n")
    )
    assert "File too large" in go("f = open('/tmp/x', 'wb', 0)\nwhile f.write(bytes(1 << 20)): pass", memory=64).output
    assert "Too many open files" in go("x = [open('/tmp/x', 'w') for _ in range(65)]").output


def test_a_bomb_of_empty_files_is_stopped(go: Go) -> None:
    done = go(
        "n = 0\ntry:\n while True: open(f'/tmp/{n}', 'w').close(); n += 1\nexcept OSError as e: print(n < 1024, e)"
    )
    assert done.output.startswith("True [Errno 28] No space left on device")


def test_the_machine_says_which_backend_it_uses() -> None:
    try:
        used = backend()
    except ValueError as error:
        pytest.skip(str(error))
    check(Limits(), used)
    with pytest.raises(ValueError, match="seconds > 0"):
        check(Limits(seconds=0), used)


def test_without_bubblewrap_our_own_sandbox_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marl.tools.bubblewrap.which", lambda name: None)
    with pytest.raises(ValueError, match="bubblewrap needs the program bwrap"):
        check(Limits(), "bubblewrap")
    try:
        assert backend.__wrapped__() == "namespaces"
    except ValueError as error:
        pytest.skip(str(error))


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
