"""Read messages of other programs: a table of (meaning, message[, act ...]) in one of many formats.

One message a row. Columns, of which the first two must be there:

| column | what it is |
|---|---|
| `meaning` | what the speaker knew: words (attribute values) separated by spaces, or a list of them |
| `message` | what it sent: symbols separated by spaces, or a list of them; empty for silence |
| `act` | what the listener did next |
| `own` | what the speaker did next |
| `speaker` | who sent it |
| `place` | how many messages this speaker had sent before in the episode |
| `episode`, `score` | which episode, and its score |
| `held_out` | 1 or true for meanings held out of training |

Formats: CSV and TSV, JSON lines, a JSON array, Parquet, NumPy's `.npz`, and what EGG prints and saves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from sys import intern
from typing import Any, Final, NamedTuple

from marl.errors import UserError
from marl.study.data import arrays, cells, egg, tables
from marl.study.data.cells import WordColumn
from marl.study.data.corpus import MessageSample
from marl.study.data.tables import Table

NEEDED: Final = ("meaning", "message")
NAMES: Final = (*NEEDED, "act", "own", "speaker", "place", "episode", "score", "held_out")
ENDINGS: Final = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".txt", ".parquet", ".npz")
"""Endings that say what a file is; each may be followed by .gz, but for the last two. Other files say it themselves."""
ALIASES: Final = {
    "meaning": ("sender_input", "input", "inputs", "observation", "observations", "meanings", "labels", "target"),
    "message": ("messages", "msg", "utterance", "utterances", "sender_output"),
}
"""Names of other programs for a column, which an error suggests."""
_PAIR = re.compile(rf"({'|'.join(NAMES)})=(.+?)(?=,(?:{'|'.join(NAMES)})=|$)", re.DOTALL)


class Reading(NamedTuple):
    """How to read a file of messages."""

    columns: Mapping[str, str] = {}
    """Our name of a column -> its name in the file; of `meaning` also several, with commas between them."""
    end: str | None = None
    """Symbol that ends a message: it and what follows are left out."""


def reading(columns: Iterable[str], end: str | None = None) -> Reading:
    """Read options such as `meaning=sender_input`; raises UserError."""
    names: dict[str, str] = {}
    for option in columns:
        pairs = _PAIR.findall(option)
        if ",".join(f"{name}={column}" for name, column in pairs) != option:
            raise UserError(
                f"--columns {option}: write OURS=THEIRS, such as meaning=sender_input; ours are {', '.join(NAMES)}"
            )
        for name, column in pairs:
            if name in names:
                raise UserError(f"--columns: {name} is there twice, as {names[name]} and as {column}: give it once")
            names[name] = column
    return Reading(names, end)


def ending(path: Path) -> str:
    """Return the ending that says what a file is, in small letters and without .gz; '' if none does."""
    name = path.name.lower()
    last = Path(name.removesuffix(".gz")).suffix
    return last if last in ENDINGS else ""


def is_foreign(path: Path) -> bool:
    """Whether a file, which is no log, says by its ending or its first bytes that it holds messages."""
    return bool(ending(path)) or tables.start(path).startswith((arrays.PARQUET, arrays.ZIP))


def read(path: Path, how: Reading | None = None) -> tuple[list[MessageSample], list[str]]:
    """Return the messages of a file, and remarks on what is missing from it.

    Raises UserError that names the line, and what is wrong there. A last line that was cut off is left out.
    """
    how = how or Reading()
    remarks: list[str] = []
    table = _table(path, remarks)
    rows = _Rows(path, table, how).read()
    samples = rows.samples(remarks)
    if not samples:
        raise UserError(f"{path} holds no message: write one a line, with at least the columns meaning and message")
    unpaid = sum(sample.score is None for sample in samples)
    if unpaid and rows.scored:
        remarks.append(f"{unpaid} messages have no score that is a number: they count in no score")
    return samples, remarks


def _table(path: Path, remarks: list[str]) -> Table:
    """Open a file by what it holds; its ending decides only between text formats."""
    head, last = tables.start(path), ending(path)
    if head.startswith(arrays.PARQUET) or last == ".parquet":
        return arrays.parquet_table(path)
    if head.startswith(arrays.ZIP) or last == ".npz":
        return arrays.npz_table(path) if arrays.is_npz(path) else egg.saved_table(path, remarks)
    text = tables.decoded(head)
    if last in (".csv", ".tsv"):
        return tables.csv_table(path, last)
    if last not in (".jsonl", ".ndjson", ".json") and egg.is_printed(text):
        return egg.printed_table(path, remarks)
    if last in (".jsonl", ".ndjson", ".json") or text.lstrip().startswith(("{", "[")):
        return tables.json_table(path, last, remarks)
    return tables.csv_table(path, last)


class _Rows:
    """Rows of a file under our names, first read and then taken apart: words of a column depend on all of its cells."""

    def __init__(self, path: Path, table: Table, how: Reading) -> None:
        self._path, self._table, self._how = path, table, how
        self._rows: list[tuple[int, tuple[Any, ...]]] = []
        self.scored = False
        """Whether a row has something under `score`."""

    def read(self) -> _Rows:
        """Read all rows; raises UserError where a needed column is missing."""
        columns = self._table.columns
        sources = None if columns is None else self._sources(columns, str(self._path), "meaning,message")
        for number, row in self._table.rows:
            here = sources or self._sources(row, self._where(number), tables.EXAMPLE)
            self._rows.append((number, tuple(_picked(row, here[name]) for name in NAMES)))
        self.scored = any(row[NAMES.index("score")] not in (None, "") for _, row in self._rows)
        return self

    def samples(self, remarks: list[str]) -> list[MessageSample]:
        """Return the rows as samples; raises UserError for a cell that cannot be read."""
        words = [WordColumn(name, (row[i] for _, row in self._rows)) for i, name in enumerate(NEEDED)]
        split = [column.column for column in words if column.commas]
        remarks += [f"{self._path}: the words of {name} are those between commas" for name in split]
        return [self._sample(number, row, *words) for number, row in self._rows]

    def _sample(self, number: int, row: tuple[Any, ...], meanings: WordColumn, messages: WordColumn) -> MessageSample:
        where = self._where(number)
        cell = dict(zip(NAMES, row, strict=True))
        act, own, speaker, episode = (
            intern(cells.text(cell[name], where, name)) for name in ("act", "own", "speaker", "episode")
        )
        message = messages.words(cell["message"], where)
        if self._how.end is not None and self._how.end in message:
            message = message[: message.index(self._how.end)]
        return MessageSample(
            meaning=intern(" ".join(meanings.words(cell["meaning"], where))),
            message=tuple(map(intern, message)),
            speaker=speaker or "speaker",
            place=cells.place(cell["place"], where),
            answers={"listener": act} if act else _NO_ANSWERS,
            own=own or None,
            episode=episode or str(number),
            held_out=cells.flag(cell["held_out"], where, "held_out"),
            score=cells.number(cell["score"], where, "score"),
        )

    def _where(self, number: int) -> str:
        return f"{self._path}, {self._table.unit} {number}"

    def _sources(self, columns: Sequence[str] | Mapping[str, Any], where: str, right: str) -> dict[str, list[str]]:
        """Return, for each of our names, the columns of the file that it is read from."""
        sources = {name: self._named(name, columns, where) for name in NAMES}
        if missing := [name for name in NEEDED if not sources[name]]:
            there = f"only {', '.join(map(_printable, columns))}" if columns else "nor anything else"
            hint = _hint(missing, columns)
            raise UserError(
                f"{where}: there is no {' and no '.join(missing)}, {there}; it should be like {right}{hint}"
            )
        for name in chain(*sources.values()):
            if isinstance(columns, Sequence) and list(columns).count(name) > 1:
                raise UserError(f"{where}: there are two columns {name}: give each another name")
        return sources

    def _named(self, name: str, columns: Sequence[str] | Mapping[str, Any], where: str) -> list[str]:
        """Return the columns of the file that `name` is read from; none if it is not there."""
        wanted = self._how.columns.get(name)
        if wanted is None:
            return [name] if name in columns else []
        several = [wanted] if wanted in columns or name != "meaning" else wanted.split(",")
        for column in several:
            if column not in columns and isinstance(columns, Sequence):
                there = ", ".join(map(_printable, columns)) or "no column"
                raise UserError(f"{where}: --columns {name}={wanted}: there is no {column}; there is {there}")
        return several if all(column in columns for column in several) else []


_NO_ANSWERS: Final = MessageSample._field_defaults["answers"]


def _picked(row: Mapping[str, Any], columns: list[str]) -> Any:
    """Return a cell, or the cells of several columns as a list; None where there is none."""
    if len(columns) < 2:
        return row.get(columns[0]) if columns else None
    cells_ = [row.get(column) for column in columns]
    return [cell.strip() if isinstance(cell, str) else cell for cell in cells_]


def _hint(missing: Sequence[str], columns: Iterable[str]) -> str:
    """Return how to name columns that are there under other names; '' where there are none."""
    there = {column.lower(): column for column in columns}
    pairs: list[str] = []
    for name in missing:
        close = [there[other] for other in (name, *ALIASES[name]) if other in there]
        pairs += [f"{name}={close[0]}"] if close else []
    if not pairs and there:
        pairs = [f"{missing[0]}={_printable(next(iter(there.values())))}"]
    return f", or add --columns {','.join(pairs)}" if pairs else ""


def _printable(name: str) -> str:
    return name if name.isprintable() else ascii(name)
