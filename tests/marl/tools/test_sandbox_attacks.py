"""The sandbox under attack, in both backends, as this user and as another: nothing escapes, nothing is left running."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from shutil import which
from typing import Final

import pytest

from marl.tools.sandbox import Backend, Limits, check, run
from tests.marl.tools.attacks import PROGRAMS

STRANGER: Final = 12345
BACKENDS: Final[tuple[Backend, ...]] = ("bubblewrap", "namespaces")
LIBRARY: Final = """
import importlib, sys
for name in sorted(sys.stdlib_module_names):
    if name in {expected!r}:
        try: importlib.import_module(name)
        except BaseException as error: print(name, type(error), error)
"""
EXPECTED: Final = """
import contextlib, importlib, sys
for name in sorted(sys.stdlib_module_names - {"antigravity", "this"}):
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
        print(name)
"""
LEGAL: Final = """
import asyncio, ctypes, decimal, hashlib, socket, sqlite3, ssl, tempfile, threading, zlib
with tempfile.TemporaryFile() as file: file.write(b"x")
base = sqlite3.connect("/tmp/base"); base.execute("create table t (x)"); base.commit()
left, right = socket.socketpair(); left.sendall(b"x"); assert right.recv(1) == b"x"
assert ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 3)() == 3
ssl.create_default_context(); hashlib.sha256(b"x"); decimal.Decimal(1) / 3
thread = threading.Thread(target=print, args=("thread",)); thread.start(); thread.join()
import subprocess, sys
print(subprocess.run([sys.executable, "-ISc", "print(1)"], capture_output=True, text=True).stdout.strip())
print(asyncio.run(asyncio.sleep(0, "done")))
"""
ALL: Final = """
import asyncio, json, sys
from marl.tools.sandbox import Limits, run
for name, code in json.load(sys.stdin).items():
    print(json.dumps([name, asyncio.run(run(code, Limits(), sys.argv[1])).output]))
"""
CALLER: Final = """
import asyncio, sys
from marl.tools.sandbox import Limits, check, run
check(Limits(), sys.argv[1])
print("ready", flush=True)
asyncio.run(run("import time, os\\nos.fork()\\ntime.sleep(600)", Limits(float(sys.argv[2]), processes=2), sys.argv[1]))
"""


@pytest.fixture(scope="module", params=BACKENDS)
def by(request: pytest.FixtureRequest) -> Backend:
    backend: Backend = request.param
    if backend == "bubblewrap" and which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    try:
        check(Limits(), backend)
    except ValueError as error:
        pytest.skip(str(error))
    return backend


def running(mark: str) -> list[str]:
    """Return the processes with this argument, except the caller itself."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_text(errors="replace").split("\0")
        except OSError:
            continue
        if mark in words:
            found.append(folder.name)
    return found


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_an_attack_is_held(by: Backend, name: str) -> None:
    assert asyncio.run(run(PROGRAMS[name], Limits(), by)).output.startswith("held")


def test_another_user_is_held_too(by: Backend) -> None:
    python = "/usr/bin/python3"
    environment = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[3]), *sys.path[1:]])}
    probe = "import marl.tools.sandbox as s; s.check(s.Limits(), 'namespaces')"
    options = {"user": STRANGER, "group": STRANGER, "extra_groups": []}
    if os.getuid() != 0 or not Path(python).exists():
        pytest.skip("only root can become another user")
    if subprocess.run([python, "-c", probe], env=environment, capture_output=True, check=False, **options).returncode:  # type: ignore[call-overload]
        pytest.skip(f"user {STRANGER} cannot run this package with {python}")
    done = subprocess.run(  # type: ignore[call-overload]
        [python, "-c", ALL, by],
        input=json.dumps(PROGRAMS).encode(),
        env=environment,
        capture_output=True,
        check=True,
        **options,
    )
    answers = dict(json.loads(line) for line in done.stdout.splitlines())
    assert len(answers) == len(PROGRAMS)
    assert {name: answer for name, answer in answers.items() if not answer.startswith("held")} == {}


def test_the_whole_standard_library_can_be_imported(by: Backend) -> None:
    python = getattr(sys, "_base_executable")  # noqa: B009
    outside = subprocess.run([python, "-ISB", "-c", EXPECTED], capture_output=True, text=True, check=True, env={})
    expected = set(outside.stdout.split())
    assert len(expected) > 200
    assert asyncio.run(run(LIBRARY.format(expected=expected), Limits(20.0), by)) == ("", "")


def test_legal_programs_work(by: Backend) -> None:
    assert asyncio.run(run(LEGAL, Limits(processes=2), by)) == ("thread\n1\ndone\n", "")


@pytest.mark.parametrize("times", [3, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_nothing_outlives_a_killed_caller(by: Backend, times: int) -> None:
    for i in range(times):
        mark = f"{900 + os.getpid() * 1e-6 + i * 1e-9}"
        caller = subprocess.Popen([sys.executable, "-c", CALLER, by, mark], stdout=subprocess.PIPE)
        assert caller.stdout is not None
        caller.stdout.read(6)
        time.sleep(0.01 * (i % 25) if times > 3 else 0.25)  # in every state: before, while and after it starts
        caller.kill()
        caller.wait()
        caller.stdout.close()
        for _ in range(200):
            if not (left := running(mark)):
                break
            time.sleep(0.02)
        assert left == []
