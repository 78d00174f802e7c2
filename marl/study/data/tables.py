"""Readers of foreign text tables: CSV, TSV, JSON lines and JSON, gzipped or not, with or without a byte order mark.

Each yields where a row stands ("line 3") and the row as a mapping. What they hold in memory is bounded by the size of
the file; files that unpack into far more than they hold are refused.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, cast

from marl.errors import UserError

Row = tuple[int, Mapping[str, Any]]
"""Number of a line or row, and its cells."""


class Table(NamedTuple):
    """Rows of a file that are read as they are asked for."""

    rows: Iterator[Row]
    columns: Sequence[str] | None = None
    """Names of the columns; None where each row names its own."""
    unit: str = "line"
    """What the numbers of rows count."""


_BLANK: Final = b"\xef\xbb\xbf \t\r\n"
LONGEST: Final = 2**24
"""Bytes of a line, of a cell, and of JSON that is not one object a line."""
UNPACKED: Final = 2**24
"""Bytes that a gzipped file may unpack into; more only where that is less than `RATIO` times the file."""
RATIO: Final = 200
DELIMITERS: Final = (",", "\t", ";")
EXAMPLE: Final = '{"meaning": ["a0", "b1"], "message": ["m3", "m1"]}'
BOMS: Final = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order mark -> encoding of the file; the longer marks first. UTF-8 may have one too."""


def unpacked(path: Path) -> IO[bytes]:
    """Open a file for reading, unpacked if it is gzipped; raises UserError where that is damaged, or far too large."""
    file = cast(IO[bytes], path.open("rb"))
    if file.read(2) != b"\x1f\x8b":
        file.seek(0)
        return file
    file.close()
    most = max(UNPACKED, RATIO * path.stat().st_size)
    size = 0
    try:
        with gzip.open(path, "rb") as packed:
            while chunk := packed.read(2**20):
                size += len(chunk)
                if size > most:
                    raise UserError(
                        f"{path} unpacks into more than {RATIO} times its size: unpack it with gunzip if you trust it"
                    )
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise UserError(f"{path}: the file is damaged or cut off ({error}): write it again") from None
    return cast(IO[bytes], gzip.open(path, "rb"))


def start(path: Path, size: int = 4096) -> bytes:
    """Return the first bytes of a file, unpacked if it is gzipped; as many as can be had of a damaged one."""
    with path.open("rb") as file:
        raw = file.read(size)
    if not raw.startswith(b"\x1f\x8b"):
        return raw
    try:
        return zlib.decompressobj(wbits=31).decompress(raw, size)
    except zlib.error:
        return b""


def decoded(raw: bytes) -> str:
    """Return the start of a file as text, for guesses."""
    encoding = next((name for mark, name in BOMS.items() if raw.startswith(mark)), "utf-8")
    return raw.decode(encoding, errors="replace").lstrip("\ufeff")


def utf8(path: Path) -> IO[bytes]:
    """Open a file as UTF-8, whatever its byte order mark says; raises UserError."""
    file = unpacked(path)
    head = file.read(4)
    file.seek(0)
    encoding = next((name for mark, name in BOMS.items() if head.startswith(mark)), None)
    if encoding is None:
        return file
    with file:
        raw = file.read(LONGEST + 1)
    if len(raw) > LONGEST:
        raise UserError(f"{path} is in {encoding.upper()} and too long to convert: save it in UTF-8")
    try:
        return io.BytesIO(raw.decode(encoding).encode())
    except UnicodeError as error:
        raise UserError(
            f"{path} is not {encoding.upper()}, as its first bytes say ({error}): save it in UTF-8"
        ) from None


def csv_table(path: Path, ending: str) -> Table:
    """Read a table whose first row names the columns."""
    rows = _cells(path, "\t" if ending == ".tsv" else ",")
    _, names = next(rows, (0, []))
    columns = [name.strip() for name in names]

    def named() -> Iterator[Row]:
        for number, cells in rows:
            if len(cells) != len(columns):
                raise UserError(f"{path}, line {number}: its number of cells differs from the header's")
            yield number, dict(zip(columns, cells, strict=True))

    return Table(named(), columns)


def _cells(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file that are not blank; another delimiter is taken where the header lacks this one."""
    csv.field_size_limit(LONGEST)
    with utf8(path) as raw, io.TextIOWrapper(raw, encoding="utf-8", newline="") as file:
        number = 0
        try:
            lines = text_lines(path, file)
            before = list(_header(lines))
            if before and delimiter not in before[-1]:
                delimiter = max(DELIMITERS, key=before[-1].count)
            reader = csv.reader(chain(before, lines), delimiter=delimiter, strict=True)
            for cells in reader:
                number = reader.line_num
                if cells:
                    yield number, cells
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not a text table ({error}): save it as CSV in UTF-8") from None
        except csv.Error as error:
            raise UserError(f"{path}, after line {number}: not a row of a table ({error}): save it as CSV") from None


def _header(lines: Iterator[str]) -> Iterator[str]:
    """Yield lines up to the first one that is not blank, and that one, without a byte order mark."""
    for line in lines:
        yield line.lstrip("\ufeff")
        if line.strip("\ufeff \t\r\n"):
            return


def text_lines(path: Path, file: io.TextIOBase) -> Iterator[str]:
    """Yield the lines of a text; raises UserError for one that is too long."""
    for line in iter(lambda: file.readline(LONGEST), ""):
        if len(line) == LONGEST:
            raise _too_long(path)
        yield line


def _too_long(path: Path) -> UserError:
    return UserError(f"{path} has a line or cell of more than {LONGEST >> 20} MiB: split it")


def json_table(path: Path, ending: str, remarks: list[str]) -> Table:
    """Read JSON: one object per line, an array of objects, or an object of columns as pandas writes it."""
    if ending == ".json" or decoded(start(path)).lstrip().startswith("["):
        with utf8(path) as file:
            raw = file.read(LONGEST + 1)
        if len(raw) <= LONGEST and (rows := _records(_parsed(raw))) is not None:
            return Table(enumerate(rows, 1), unit="row")
        if len(raw) > LONGEST and raw.lstrip(_BLANK).startswith(b"["):
            raise UserError(f"{path} is an array of more than {LONGEST >> 20} MiB: write one JSON object per line")
    return Table(_json_lines(path, remarks))


def _parsed(raw: bytes) -> Any:
    """Parse JSON; None for what is none."""
    try:
        return json.loads(raw.decode().lstrip("\ufeff"))
    except (ValueError, RecursionError):
        return None


def _records(document: Any) -> list[dict[str, Any]] | None:
    """Return the rows of a JSON document; None if it is no table."""
    if isinstance(document, list):
        return document if all(isinstance(row, dict) for row in document) else None
    if not isinstance(document, dict):
        return None
    data, columns = document.get("data"), document.get("columns")
    if isinstance(data, list):  # pandas: orient="table" and orient="split"
        if isinstance(columns, list) and all(isinstance(row, list) and len(row) == len(columns) for row in data):
            return [dict(zip(map(str, columns), row, strict=True)) for row in data]
        return _records(data)
    lists = {name: list(cells.values()) if isinstance(cells, dict) else cells for name, cells in document.items()}
    cells = [cells for cells in lists.values() if isinstance(cells, list)]
    if not cells or len(cells) < len(lists) or len({len(column) for column in cells}) > 1:
        return None
    return [dict(zip(lists, row, strict=True)) for row in zip(*cells, strict=True)]


def _json_lines(path: Path, remarks: list[str]) -> Iterator[Row]:
    with utf8(path) as file:
        number = 0
        while raw := file.readline(LONGEST):
            number += 1
            if len(raw) == LONGEST:
                raise _too_long(path)
            if not raw.strip(_BLANK):
                continue
            try:
                row = json.loads(raw.decode().lstrip("\ufeff"))
            except (ValueError, RecursionError) as error:
                if "limit" in str(error) and not isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
                    raise UserError(
                        f"{path}, line {number} has a number of too many digits: write it in quotes"
                    ) from None
                if number > 1 and not raw.endswith(b"\n"):
                    remarks.append(f"{path}, line {number} is cut off: the messages before it are studied")
                    return
                raise UserError(f"{path}, line {number} is not valid JSON: write one object per line") from None
            if not isinstance(row, dict):
                raise UserError(f"{path}, line {number} is not a JSON object such as {EXAMPLE}")
            yield number, row
