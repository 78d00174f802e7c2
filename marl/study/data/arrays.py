"""Readers of foreign binary tables: Parquet, and NumPy's `.npz` with an array a column. Nothing is unpickled."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from marl.errors import UserError
from marl.study.data.tables import RATIO, UNPACKED, Row, Table

PARQUET: Final = b"PAR1"
ZIP: Final = b"PK\x03\x04"
BATCH: Final = 4096
"""Rows of a Parquet file that are read at once."""


def bounded(path: Path, size: int) -> None:
    """Raise UserError if a file unpacks into `size` bytes that it cannot hold."""
    if size > max(UNPACKED, RATIO * path.stat().st_size):
        raise UserError(f"{path} unpacks into more than {RATIO} times its size: save its messages as JSON lines")


def parquet_table(path: Path) -> Table:
    """Read a Parquet file in another process: Arrow may abort its process where a file is damaged. Needs pyarrow."""
    if find_spec("pyarrow") is None:
        raise UserError(f"{path}: a Parquet file needs pyarrow: pip install 'sabir[parquet]'")
    lines = _child_lines(path)
    head = next(lines, {"error": "its reader stopped"})
    if "error" in head:
        raise _damaged(path, head["error"])
    bounded(path, int(head["size"]))

    def rows() -> Iterator[Row]:
        for number, row in enumerate(lines, 1):
            if "error" in row:
                raise _damaged(path, row["error"])
            yield number, row["row"]

    return Table(rows(), head["columns"], unit="row")


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(f"{path} is not a Parquet file, or damaged ({reason}): save it again, or as JSON lines")


def _child_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield what the other process says of a Parquet file; last an error if it stopped early."""
    command = [sys.executable, "-m", "marl.study.data.arrays", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        try:
            ended = False
            for line in child.stdout:
                ended = line == b"{}\n"
                if not ended:
                    yield json.loads(line)
            if not ended:
                yield {"error": "its reader stopped"}
        finally:
            child.kill()


def _tell(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the columns of a Parquet file and the bytes it unpacks into, each row, and an empty object at the end."""
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        sizes = [abs(group.column(j).total_uncompressed_size) for group in groups for j in range(group.num_columns)]
        size = max(sum(sizes), 8 * abs(file.metadata.num_rows))
        yield {"columns": list(map(str, file.schema_arrow.names)), "size": size}
        for batch in file.iter_batches(batch_size=BATCH, use_threads=False):
            for row in batch.to_pylist():
                yield {"row": row}
        yield {}
    except Exception as error:  # of a damaged file Arrow raises nearly anything
        yield {"error": " ".join(str(error).split())[:160] or type(error).__name__}


def is_npz(path: Path) -> bool:
    """Whether a zip file holds NumPy arrays."""
    return any(name.endswith(".npy") for name in entries(path))


def entries(path: Path) -> dict[str, int]:
    """Return the files in a zip file with their sizes unpacked; raises UserError."""
    try:
        with zipfile.ZipFile(path) as file:
            entries = {entry.filename: entry.file_size for entry in file.infolist()}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, UnicodeDecodeError, IndexError) as error:
        raise UserError(f"{path} is damaged ({error}): save it again") from None
    bounded(path, sum(entries.values()))
    return entries


def npz_table(path: Path) -> Table:
    """Read an `.npz` file: an array a column, such as `messages` and `observations` for emlangkit."""
    import numpy as np

    entries(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # of a damaged file numpy raises nearly anything
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise UserError(
            f"{path} holds no arrays that can be read ({reason}): save numbers or text, no objects"
        ) from None
    return columns_table(path, {name: array.tolist() for name, array in arrays.items() if array.ndim})


def columns_table(path: Path, columns: dict[str, list[Any]]) -> Table:
    """Return columns of equal length as a table; raises UserError where lengths differ."""
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        sizes = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise UserError(f"{path}: its columns have different lengths ({sizes}): save one row a message")
    rows = enumerate((dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)), 1)
    return Table(rows, list(columns), unit="row")


if __name__ == "__main__":
    for said in _tell(Path(sys.argv[1])):
        print(json.dumps(said, default=str), flush="columns" in said)
