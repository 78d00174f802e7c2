"""The folder of a run: configuration, metrics, logs, checkpoints, summary, all written crash-safely."""

from __future__ import annotations

import json
import logging
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, Final

from marl.errors import UserError
from marl.rundir import checkpoints, lock
from protocols import log
from protocols.bounded import parse_json
from protocols.log import Log

KEEP: Final = 2
"""Checkpoints kept: the newest, and one before it."""
MAX_ROW: Final = 4 << 20
"""Bytes of a line of metrics.jsonl."""
_LOG: Final = logging.getLogger(__name__)
_told: set[tuple[Path, str]] = set()
"""Damaged checkpoints that were logged, and why."""


class RunDir:
    """Paths of a run folder. `metrics.jsonl` and the logs only grow; resuming truncates them to the checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.toml"
        self.metrics = path / "metrics.jsonl"
        self.summary = path / "summary.json"
        self.report = path / "report.html"
        self.study = path / "study.json"
        self.teaching = path / "teaching.json"
        self.tensorboard = path / "tensorboard"
        self.checkpoints = path / "checkpoints"
        self.league = path / "league"
        self.provenance = path / "provenance.jsonl"
        self.train_log = path / "logs" / "train.jsonl.gz"
        self.eval_log = path / "logs" / "eval.jsonl.gz"

    @property
    def exists(self) -> bool:
        """Whether the folder holds a run."""
        return self.config.is_file()

    @property
    def finished(self) -> bool:
        """Whether the run is finished."""
        return self.summary.is_file()

    def frozen(self, version: int) -> Path:
        """Return the folder of a frozen league version."""
        return self.league / f"{version:06d}"

    def clear(self) -> None:
        """Delete the files of the run; other files in the folder stay."""
        for path in (self.config, self.metrics, self.summary, self.report, self.study, self.teaching, self.provenance):
            path.unlink(missing_ok=True)
        for path in (self.tensorboard, self.checkpoints, self.league, self.train_log.parent):
            shutil.rmtree(path, ignore_errors=True)

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Append one line; on OSError the file keeps its previous contents."""
        before = self.metrics.stat().st_size if self.metrics.is_file() else 0
        try:
            with self.metrics.open("a") as file:
                file.write(json.dumps(row) + "\n")
        except OSError:
            if self.metrics.is_file():
                with self.metrics.open("r+b") as file:
                    file.truncate(before)
            raise

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the rows of metrics.jsonl, without a last line that was cut off; raises UserError for a wrong row."""
        if not self.metrics.is_file():
            return []
        rows = []
        with self.metrics.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(MAX_ROW + 1), b""), 1):
                if not line.endswith(b"\n") and len(line) <= MAX_ROW:
                    break  # a process that was killed may leave half of one
                try:
                    rows.append(_row(line))
                except ValueError as error:
                    raise UserError(
                        f"{self.metrics}, line {number}: {error}: restore the file, or remove this line"
                    ) from None
        return rows

    def append_logs(self, logs: Iterable[Log]) -> None:
        """Add training episodes to the training log."""
        self.train_log.parent.mkdir(parents=True, exist_ok=True)
        log.save(self.train_log, logs, append=True)

    def write_eval(self, logs: Iterable[Log]) -> None:
        """Replace the log of the last evaluation."""
        self.eval_log.parent.mkdir(parents=True, exist_ok=True)
        part = self.eval_log.with_name("part-" + self.eval_log.name)
        log.save(part, logs)
        part.replace(self.eval_log)

    def checkpoint(self, update: int, state: dict[str, Any], save: Callable[[Path], None]) -> Path:
        """Write a checkpoint atomically and delete old ones; raises OSError."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        part = self.checkpoints / "part"
        shutil.rmtree(part, ignore_errors=True)
        save(part)
        sizes = {str(p.relative_to(self.path)): p.stat().st_size for p in self._growing() if p.is_file()}
        checkpoints.write_state(part, {"update": update, "sizes": sizes, **state})
        final = self.checkpoints / f"{update:06d}"
        shutil.rmtree(final, ignore_errors=True)
        part.rename(final)
        for old in self.numbered()[:-KEEP]:
            shutil.rmtree(old)
        return final

    def newest(self) -> Path:
        """Return the newest checkpoint that is whole, and log a warning about newer ones; raises UserError if none is.

        Whole means that all its files have the digests noted when they were written.
        """
        numbered = self.numbered()
        if not numbered:
            raise UserError(f"{self.path} has no checkpoint yet: train it first (marl train)")
        reasons: dict[Path, str] = {}
        for path in reversed(numbered):
            if not (reason := checkpoints.damage(path)):
                for damaged, why in reasons.items():
                    if (damaged, why) not in _told:
                        _told.add((damaged, why))
                        _LOG.warning("the checkpoint %s is damaged (%s): %s is used instead", damaged, why, path.name)
                return path
            reasons[path] = reason
        first, reason = next(iter(reasons.items()))
        every = "" if len(numbered) == 1 else ", as is each before it"
        raise UserError(f"the checkpoint {first} is damaged ({reason}){every}: restore it, or train again")

    def resume(self) -> tuple[Path, dict[str, Any]]:
        """Return the newest whole checkpoint and its state; truncate the growing files to that checkpoint.

        Newer checkpoints, which are damaged, get names that end in `.damaged`. Growing files that are shorter than at
        the checkpoint are logged as warnings. Raises UserError if no checkpoint is whole.
        """
        newest = self.newest()
        state = checkpoints.read_state(newest)
        for damaged in self.numbered():
            if int(damaged.name) > int(newest.name):
                aside = damaged.with_name(f"{damaged.name}.damaged")
                shutil.rmtree(aside, ignore_errors=True)
                damaged.rename(aside)
        sizes = {Path(name): size for name, size in state["sizes"].items()}
        for path in self._growing():
            size = sizes.get(path.relative_to(self.path), 0)
            length = path.stat().st_size if path.is_file() else 0
            if length < size:
                _LOG.warning(
                    "%s was cut: it has %s of the %s bytes that it had at checkpoint %s; what it lacks stays lost",
                    *(path, length, size, newest.name),
                )
            if path.is_file():
                with path.open("r+b") as file:
                    file.truncate(size if length >= size else whole_length(path))
        return newest, state

    def numbered(self) -> list[Path]:
        """Return the folders of all checkpoints, damaged ones too, oldest first."""
        return checkpoints.numbered(self.checkpoints)

    def locked(self) -> AbstractContextManager[int]:
        """Hold the lock of the run while it is trained; entering raises UserError if another process trains it."""
        return lock.locked(
            self.path, f"{self.path}: another process trains this run: wait for it, or choose another folder with out="
        )

    def _growing(self) -> Iterator[Path]:
        yield from (self.metrics, self.train_log)


def _row(line: bytes) -> dict[str, Any]:
    """Parse a row of metrics; raises ValueError."""
    row = parse_json(line, MAX_ROW)
    if not isinstance(row, dict) or type(row.get("update")) is not int:
        raise ValueError("no row of metrics, which names its update")
    try:
        for value in row.values():
            if isinstance(value, int):
                float(value)
    except OverflowError:
        raise ValueError("a number beyond all measures") from None
    return row


def whole_length(path: Path) -> int:
    """Return the length of a growing file without the last line, or the last gzip member, that was cut off."""
    if path.suffix != ".gz":
        return path.read_bytes().rfind(b"\n") + 1
    whole, member = 0, zlib.decompressobj(31)
    with path.open("rb") as file, suppress(zlib.error):
        rest = b""
        while rest := member.unconsumed_tail or rest or file.read(1 << 16):
            member.decompress(rest, 1 << 20)
            rest = b""
            if member.eof:
                rest = member.unused_data
                whole, member = file.tell() - len(rest), zlib.decompressobj(31)
    return whole
