"""One training at a time in a folder: the second is refused in one sentence, and a killed one leaves no lock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from marl.errors import UserError
from marl.rundir.folder import RunDir
from marl.rundir.lock import locked
from tests.marl.conftest import marl

HOLD = """
import sys, time
from pathlib import Path
from marl.rundir.lock import locked
with locked(Path(sys.argv[1]), "taken"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Hold the lock of a folder in another process."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3],
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process


def test_a_second_holder_is_refused_and_the_lock_goes_with_its_process(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with held(folder) as process:
        with pytest.raises(UserError, match="taken"), locked(folder, "taken"):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (folder / "lock").exists()
        with locked(folder, "taken"):
            pass
    assert not (folder / "lock").exists()


def test_a_holder_may_take_the_lock_again_and_another_thread_may_not(tmp_path: Path) -> None:
    refused: list[str] = []

    def other() -> None:
        try:
            with locked(tmp_path / "link", "taken"):
                pass
        except UserError as error:
            refused.append(str(error))

    (tmp_path / "link").symlink_to(tmp_path / "run")
    with locked(tmp_path / "run", "taken"), locked(tmp_path / "run", "taken"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert refused == ["taken"]


def test_a_lock_leaves_nothing_behind(tmp_path: Path) -> None:
    with locked(tmp_path / "new" / "run", "taken"):
        pass
    assert not (tmp_path / "new").exists()
    (tmp_path / "mine").mkdir()
    with locked(tmp_path / "mine", "taken"):
        pass
    assert list((tmp_path / "mine").iterdir()) == []


def test_many_at_once_never_hold_the_lock_together(tmp_path: Path) -> None:
    """The lock file is removed on release: who opened it before must not count as a holder."""
    inside = [0]
    seen: list[int] = []

    def work(until: float) -> None:
        while time.monotonic() < until:
            try:
                with locked(tmp_path, "taken"):
                    inside[0] += 1
                    seen.append(inside[0])
                    inside[0] -= 1
            except UserError:
                pass

    threads = [threading.Thread(target=work, args=(time.monotonic() + 1,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(seen) == {1}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_an_oserror(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError), locked(tmp_path / "run", "taken"):
        pass


@pytest.mark.parametrize("words", [[], ["--overwrite"], ["updates=9"]])
def test_training_is_refused_while_another_process_trains_there(tmp_path: Path, words: list[str]) -> None:
    out = tmp_path / "run"
    settings = ["lewis", f"out={out}", "updates=1", "episodes=8", "evaluate_every=1", "--no-report"]
    assert marl("train", *settings).code == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with held(out):
        second = marl("train", *settings, *words)
    assert (second.code, second.out) == (2, "")
    assert second.err.splitlines() == [
        f"error: {out}: another process trains this run: wait for it, or choose another folder with out="
    ]
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert RunDir(out).finished


def test_generations_are_refused_while_another_process_trains_them(tmp_path: Path) -> None:
    out = tmp_path / "line"
    with held(out):
        second = marl("generations", "lewis", f"out={out}", "updates=1", "episodes=8")
    assert (second.code, second.out) == (2, "")
    assert f"error: {out}: another process trains these generations" in second.err
