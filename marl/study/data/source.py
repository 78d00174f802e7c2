"""Sources of a study: a run folder, a log file, or a message file of another program."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from marl.errors import UserError
from marl.evaluation import log_lines
from marl.rundir.folder import RunDir
from marl.rundir.load import run_dir, scene
from marl.scenario.world import World
from marl.settings import read_toml
from marl.study.data import corpus, foreign, tables
from marl.study.data.corpus import MessageSample
from protocols import ProtocolError
from protocols.envelope import Kind
from protocols.log import Log, load


@dataclass(frozen=True, slots=True)
class StudySource:
    """Messages to study, with their logs, run and world if known."""

    path: Path
    samples: list[MessageSample]
    remarks: list[str] = field(default_factory=list)
    logs: list[Log] = field(default_factory=list)
    run: RunDir | None = None
    world: World | None = None
    arena: str = ""
    seed: int | None = None

    @property
    def episodes(self) -> int:
        """Number of episodes; each message counts as one if the file names none."""
        return len(self.logs) or len({sample.episode or n for n, sample in enumerate(self.samples)})


def read(path: Path, how: foreign.Reading | None = None) -> StudySource:
    """Read a source from a path; raises UserError if there is nothing to study.

    Args:
        path: folder of a run, log file, or file of messages.
        how: names of columns, and the end symbol, in a file of messages.
    """
    if path.is_dir():
        return _run(path)
    if not path.exists():
        raise UserError(f"{path} does not exist: name the folder of a run, a log, or a file of messages")
    if foreign.is_foreign(path) and not _is_log(path):
        return StudySource(path, *foreign.read(path, how))
    return _log(path)


def _is_log(path: Path) -> bool:
    """Whether the first line of a file is that of a log; a gzipped file of which nothing can be read is one too."""
    head = tables.start(path)
    return b'"sabir"' in head.lstrip(b"\xef\xbb\xbf \t\r\n").partition(b"\n")[0] or (
        not head and path.name.lower().endswith(".jsonl.gz")
    )


def _run(path: Path) -> StudySource:
    folder = run_dir(path)
    if not folder.eval_log.is_file():
        raise UserError(f"{path} has no evaluation yet: there is nothing to study yet")
    logs, remarks = whole(folder.eval_log)
    settings: dict[str, Any] = read_toml(folder.config)
    world = scene(folder)
    samples = corpus.from_logs(logs, world)
    return StudySource(path, samples, remarks, logs, folder, world, world.arena.name, settings.get("seed"))


def _log(path: Path) -> StudySource:
    logs, remarks = whole(path)
    return StudySource(path, corpus.from_logs(logs), remarks, logs, arena=_arena(logs))


def _arena(logs: Iterable[Log]) -> str:
    return next((str(log.scenario.get("arena", {}).get("name", "")) for log in logs), "")


def whole(path: Path) -> tuple[list[Log], list[str]]:
    """Return the finished episodes of a log, and remarks on the others.

    Raises UserError where not one did.
    """
    logs: list[Log] = []
    remarks: list[str] = []
    try:
        logs.extend(load(path))
    except ProtocolError as error:
        if not logs:
            raise UserError(
                f"{error}, and no finished episode precedes it; files of messages end in {', '.join(foreign.ENDINGS)}"
            ) from None
        remarks.append(f"{error}: the episodes before it are studied")
    ended = [log for log in logs if any(entry.envelope.kind is Kind.END for entry in log.entries)]
    if len(ended) < len(logs):
        remarks.append(f"{path}: {len(logs) - len(ended)} episodes have no end and are left out")
    if not ended:
        raise UserError(remarks[0] if remarks else f"{path} holds no episode: there is nothing to study")
    if unpaid := [log.episode for log in ended if not isfinite(log_lines.score(log))]:
        remarks.append(f"{len(unpaid)} episodes have a reward that is no number ({unpaid[0]}): they count in no score")
    return ended, remarks
