"""Read messages of other programs: a CSV or JSONL file of (meaning, message[, act ...]).

One message a line. Columns, of which the first two must be there:

| column | what it is |
|---|---|
| `meaning` | what the speaker knew: words (attribute values) separated by spaces, or in JSON a list of them |
| `message` | what it sent: symbols separated by spaces, or in JSON a list of them; empty for silence |
| `act` | what the listener did next |
| `own` | what the speaker did next |
| `speaker` | who sent it |
| `place` | how many messages this speaker had sent before in the episode |
| `episode`, `score` | which episode, and its score |
| `held_out` | 1 or true for meanings held out of training |
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import Any, Final

from marl.errors import UserError
from marl.study.data.corpus import MessageSample

TABLES: Final = (".csv", ".tsv")
SUFFIXES: Final = (*TABLES, ".jsonl")
NEEDED: Final = ("meaning", "message")
TRUE: Final = ("1", "true", "yes")


def read(path: Path) -> tuple[list[MessageSample], list[str]]:
    """Return the messages of a file, and remarks on what is missing from it.

    Raises UserError that names the line, and what is wrong there. A last line that was cut off is left out.
    """
    remarks: list[str] = []
    rows = list(_table(path) if path.suffix in TABLES else _lines(path, remarks))
    samples = [_sample(row, f"{path}, line {number}", number) for number, row in rows]
    if not samples:
        raise UserError(f"{path} holds no message: write one a line, with at least the columns meaning and message")
    unpaid = sum(sample.score is None for sample in samples)
    if unpaid and any(row.get("score") not in (None, "") for _, row in rows):
        remarks.append(f"{unpaid} messages have no score that is a number: they count in no score")
    return samples, remarks


def _table(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",", strict=True)
            _needed(reader.fieldnames or (), str(path), _ROW)
            for row in reader:
                if None in row or None in row.values():
                    raise UserError(f"{path}, line {reader.line_num}: its number of cells differs from the header's")
                yield reader.line_num, row
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a text table ({error}): save it as CSV in UTF-8") from None


def _lines(path: Path, remarks: list[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if not raw.strip():
                continue
            try:
                row = json.loads(raw.decode())
            except (ValueError, RecursionError):
                if number > 1 and not raw.endswith(b"\n"):
                    remarks.append(f"{path}, line {number} is cut off: the messages before it are studied")
                    return
                raise UserError(f"{path}, line {number} is not valid JSON: write one object per line") from None
            if not isinstance(row, dict):
                raise UserError(f"{path}, line {number} is not a JSON object such as {_EXAMPLE}")
            _needed(row, f"{path}, line {number}", _EXAMPLE)
            yield number, row


_ROW: Final = "meaning,message"
_EXAMPLE: Final = '{"meaning": ["a0", "b1"], "message": ["m3", "m1"]}'


def _needed(columns: Any, where: str, right: str) -> None:
    if missing := [name for name in NEEDED if name not in columns]:
        there = f"only {', '.join(map(str, columns))}" if columns else "nor anything else"
        raise UserError(f"{where}: there is no {' and no '.join(missing)}, {there}; it should be like {right}")
    if twice := [name for name in columns if list(columns).count(name) > 1]:
        raise UserError(f"{where}: there are two columns {twice[0]}: give each another name")


def _sample(row: Mapping[str, Any], where: str, number: int) -> MessageSample:
    act = _text(row.get("act"), where, "act")
    own = _text(row.get("own"), where, "own")
    return MessageSample(
        meaning=" ".join(_words(row["meaning"], where, "meaning")),
        message=_words(row["message"], where, "message"),
        speaker=_text(row.get("speaker"), where, "speaker") or "speaker",
        place=int(_number(row.get("place"), where, "place") or 0),
        answers={"listener": act} if act else {},
        own=own or None,
        episode=_text(row.get("episode"), where, "episode") or str(number),
        held_out=str(row.get("held_out") or "").lower() in TRUE,
        score=_number(row.get("score"), where, "score"),
    )


def _words(value: Any, where: str, column: str) -> tuple[str, ...]:
    if isinstance(value, list):
        words = [_text(item, where, column) for item in value]
        if any(" " in word or not word for word in words):
            raise UserError(f"{where}: a word of {column} is empty or has a space in it")
        return tuple(words)
    return tuple(_text(value, where, column).split())


def _text(value: Any, where: str, column: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value != value:
        raise UserError(f"{where}: {column} is {json.dumps(value)}, not a word or a list of words")
    return str(value)


def _number(value: Any, where: str, column: str) -> float | None:
    if value in (None, ""):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise UserError(f"{where}: {column} is {value!r}, not a number") from None
    return number if isfinite(number) else None
