"""The folder of a run: configuration, metrics, logs, checkpoints, summary, all written crash-safely."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from marl.errors import UserError
from protocols import log
from protocols.log import Log

KEEP: Final = 2
"""Checkpoints kept: the newest, and one before it."""


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
        """Return the rows of metrics.jsonl, without a last line that was cut off."""
        text = self.metrics.read_text() if self.metrics.is_file() else ""
        return [json.loads(line) for line in text.split("\n")[:-1]]  # a process that was killed may leave half of one

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
        """Write a checkpoint atomically and delete old ones."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        part = self.checkpoints / "part"
        shutil.rmtree(part, ignore_errors=True)
        save(part)
        sizes = {str(p.relative_to(self.path)): p.stat().st_size for p in self._growing() if p.is_file()}
        (part / "state.json").write_text(json.dumps({"update": update, "sizes": sizes, **state}))
        final = self.checkpoints / f"{update:06d}"
        shutil.rmtree(final, ignore_errors=True)
        part.rename(final)
        for old in self._numbered()[:-KEEP]:
            shutil.rmtree(old)
        return final

    def newest(self) -> Path:
        """Return the newest checkpoint; raises UserError if there is none."""
        numbered = self._numbered()
        if not numbered:
            raise UserError(f"{self.path} has no checkpoint yet: train it first (marl train)")
        return numbered[-1]

    def resume(self) -> tuple[Path, dict[str, Any]]:
        """Return the newest checkpoint and its state; truncate the growing files to that checkpoint."""
        newest = self.newest()
        try:
            state: dict[str, Any] = json.loads((newest / "state.json").read_text())
            sizes = {Path(name): int(size) for name, size in state["sizes"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"the checkpoint {newest} is damaged ({error}): remove it to resume from the previous one"
            ) from None
        for path in self._growing():
            if path.is_file():
                with path.open("r+b") as file:
                    file.truncate(min(sizes.get(path.relative_to(self.path), 0), path.stat().st_size))
        return newest, state

    def _growing(self) -> Iterator[Path]:
        yield from (self.metrics, self.train_log)

    def _numbered(self) -> list[Path]:
        return sorted(p for p in self.checkpoints.glob("[0-9]*") if p.is_dir()) if self.checkpoints.is_dir() else []
