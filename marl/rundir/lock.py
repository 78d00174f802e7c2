"""Exclusive lock on a folder: one training, or one sweep, at a time; the kernel releases it when its process ends."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import ENOLCK, ENOSYS, EOPNOTSUPP
from pathlib import Path
from typing import Final

from marl.errors import UserError

LOCK: Final = "lock"
"""Name of the lock file. It is removed on release, and means nothing while no process holds it."""
_LOG: Final = logging.getLogger(__name__)
_held: dict[tuple[int, Path], int] = {}
"""(thread, folder) -> file descriptor of the locks of this process: who holds one may take it again."""


@contextmanager
def locked(folder: Path, refusal: str) -> Iterator[int]:
    """Hold the lock of a folder, which is made if need be; yield its file descriptor. Re-entrant within a thread.

    Processes that inherit the descriptor hold the lock too. Raises UserError with `refusal` if another one holds it,
    OSError if the folder cannot be written.
    """
    owner = (threading.get_ident(), folder.resolve())
    if owner in _held:
        yield _held[owner]
        return
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    file = _acquire(folder / LOCK, refusal)
    _held[owner] = file
    try:
        yield file
    finally:
        del _held[owner]
        (folder / LOCK).unlink(missing_ok=True)
        os.close(file)
        with suppress(OSError):  # something was written into it
            for path in new:
                path.rmdir()


def _acquire(path: Path, refusal: str) -> int:
    """Open and lock a file; the file that another process removed meanwhile does not count."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise UserError(refusal) from None
        except OSError as error:
            if error.errno not in (ENOLCK, ENOSYS, EOPNOTSUPP):
                os.close(file)
                raise
            _LOG.warning("%s: this file system has no locks: see that no other process trains there", path.parent)
            return file
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), path.stat()):
                return file
        os.close(file)
