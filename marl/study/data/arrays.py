"""Readers of foreign binary tables: Parquet, and NumPy's `.npz` with an array a column. Nothing is unpickled."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
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
    """Read a Parquet file; needs pyarrow."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise UserError(f"{path}: a Parquet file needs pyarrow: pip install 'sabir[parquet]'") from None

    def damaged(error: Exception) -> UserError:
        reason = " ".join(str(error).split())[:160]
        return UserError(f"{path} is not a Parquet file, or damaged ({reason}): save it again, or as JSON lines")

    try:
        with path.open("rb") as raw:
            file = parquet.ParquetFile(raw)
            meta, columns = file.metadata, [str(name) for name in file.schema_arrow.names]
            groups = [meta.row_group(i) for i in range(meta.num_row_groups)]
            sizes = [group.column(j).total_uncompressed_size for group in groups for j in range(group.num_columns)]
            bounded(path, max(sum(map(abs, sizes)), 8 * abs(meta.num_rows)))
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, IndexError, MemoryError) as error:
        if isinstance(error, UserError):
            raise
        raise damaged(error) from None

    def rows() -> Iterator[Row]:
        number = 0
        try:
            with path.open("rb") as raw:
                for batch in parquet.ParquetFile(raw).iter_batches(batch_size=BATCH, use_threads=False):
                    for row in batch.to_pylist():
                        number += 1
                        yield number, row
        except (pyarrow.ArrowException, OSError, ValueError, KeyError, IndexError, MemoryError) as error:
            if isinstance(error, UserError):
                raise
            raise damaged(error) from None

    return Table(rows(), columns, unit="row")


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
