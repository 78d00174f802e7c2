"""Readers of EGG (Kharitonov et al. 2021): saved interactions, and the lines and blocks it prints.

An `Interaction` that `torch.save` wrote is read by torch's `weights_only` loader, which builds tensors and runs no
code; its class is replaced by one of ours. What it holds, under our names:

| ours | EGG's |
|---|---|
| `meaning` | `sender_input`: a row of numbers; whole numbers, or one name for each number |
| `message` | `message`, up to `message_length`, without the end symbol 0; of distributions the likeliest symbol |
| `act` | `receiver_output`: the likeliest class, where `labels` has classes |
| `score` | `aux["acc"]`, if it is there |
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from marl.errors import UserError
from marl.study.data.arrays import columns_table, entries
from marl.study.data.tables import Row, Table, text_lines, utf8

Tensor = Any
"""torch.Tensor, where torch is loaded only when a file needs it."""
ARROW: Final = " -> "
BLOCKS: Final = {"INPUTS": "sender_input", "LABELS": "labels", "MESSAGES": "message", "OUTPUTS": "receiver_output"}
OURS: Final = ("meaning", "message", "act", "score")
END: Final = 0
"""Symbol that ends a message of EGG."""
_LABEL = re.compile(r"\(label ?= ?[^()]*\)$")


class Interaction:
    """Stands for EGG's class of this name: its fields are tensors, and a dict of them is in `aux`."""


def saved_table(path: Path, remarks: list[str]) -> Table:
    """Read an interaction that EGG saved; needs torch."""
    try:
        import torch
    except ModuleNotFoundError:
        raise UserError(f"{path}: a file of EGG needs torch: pip install 'sabir[lm]'") from None
    names = entries(path)
    if not any(name.endswith("data.pkl") for name in names) or any(name.endswith("constants.pkl") for name in names):
        raise UserError(f"{path} is a zip file without messages: save them as .csv or .jsonl")
    known: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
        (Interaction, f"egg.core.{module}Interaction") for module in ("interaction.", "")
    ]
    try:
        with torch.serialization.safe_globals(known):
            it = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of a damaged file torch raises nearly anything
        code = re.search(r"GLOBAL (\S+)", str(error))
        why = f"it would run {code[1]}" if code else "it is damaged, or no dump of EGG"
        raise UserError(f"{path} is not read: {why}; save its messages as .jsonl") from None
    fields = it if isinstance(it, dict) else vars(it) if isinstance(it, Interaction) else {}
    aux = fields.get("aux")
    tensors = {str(name): value for name, value in {**(aux if isinstance(aux, dict) else {}), **fields}.items()}
    return _table_of(path, {name: t for name, t in tensors.items() if _is_plain(t)}, remarks)


def _is_plain(value: Any) -> bool:
    """Whether a value is a dense tensor of samples that holds as many numbers as it says."""
    import torch

    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_complex() or value.is_meta:
        return False
    held = value.untyped_storage().nbytes() // max(value.element_size(), 1)
    return value.dim() > 0 and value.numel() <= held


def _table_of(path: Path, tensors: dict[str, Tensor], remarks: list[str]) -> Table:
    """Return the tensors of an interaction as columns, under EGG's names and ours."""
    message = tensors.get("message")
    if message is None:
        raise UserError(f"{path} holds no interaction of EGG, which has a tensor called message")
    columns = {name: rows for name, value in tensors.items() if (rows := _whole(value)) is not None}
    columns["message"] = _messages(path, message, tensors.get("message_length"))
    outputs = tensors.get("receiver_output")
    labels = tensors.get("labels")
    if outputs is not None and outputs.dim() == 2 and outputs.is_floating_point() and outputs.size(1):
        if labels is None or labels.dim() == 1:
            columns["act"] = outputs.argmax(-1).tolist()
    elif outputs is not None and outputs.dim() == 1 and "receiver_output" in columns:
        columns["act"] = columns["receiver_output"]
    if (accuracy := tensors.get("acc")) is not None and accuracy.numel():
        columns["score"] = accuracy.double().reshape(len(accuracy), -1).mean(1).tolist()
    if "sender_input" in columns:
        columns["meaning"] = columns["sender_input"]
    elif "sender_input" in tensors:
        remarks.append(f"{path}: sender_input is no row of whole numbers for each message, so it is left out")
    size = len(columns["message"])
    return columns_table(path, {name: rows for name, rows in columns.items() if len(rows) == size or name in OURS})


def _whole(value: Tensor) -> list[Any] | None:
    """Return a tensor as rows of whole numbers, or truth values as 1 and 0; None if it is something else."""
    if value.dim() > 2 or (value.is_floating_point() and not bool((value == value.round()).all())):
        return None
    rows: list[Any] = value.long().tolist()
    return rows


def _messages(path: Path, message: Tensor, lengths: Tensor | None) -> list[Any]:
    """Return the symbols of each message, up to its length and without the end symbol."""
    if message.is_floating_point():  # distributions over symbols, or one-hot vectors
        if message.dim() < 2 or not message.size(-1):
            raise UserError(f"{path}: message is a list of real numbers, not of symbols: save symbols")
        message = message.argmax(-1)
    if message.dim() > 2:
        raise UserError(f"{path}: message has {message.dim()} dimensions: save a row of symbols for each message")
    rows: list[Any] = message.tolist()
    if message.dim() == 2 and lengths is not None and lengths.dim() == 1 and len(lengths) == len(rows):
        rows = [row[: max(int(length), 0)] for row, length in zip(rows, lengths.tolist(), strict=True)]
        rows = [row[:-1] if row and row[-1] == END else row for row in rows]
    return rows


def is_printed(text: str) -> bool:
    """Whether the start of a text is one that EGG printed: lines `input -> message -> output`, or blocks of lists."""
    return any(line.strip() == "INPUTS" or ARROW in line for line in text.splitlines())


def printed_table(path: Path, remarks: list[str]) -> Table:
    """Read what EGG printed; other lines are passed over."""
    with utf8(path) as raw, io.TextIOWrapper(raw, encoding="utf-8", errors="replace") as file:
        blocks: dict[str, list[Any]] = {}
        block = ""
        rows: list[Row] = []
        others = 0
        for number, line in enumerate(text_lines(path, file), 1):
            stripped = line.strip()
            if stripped in BLOCKS:
                block = BLOCKS[stripped]
                blocks.setdefault(block, [])
            elif ARROW in line:
                rows.append((number, _fields(stripped)))
            elif block and (value := _list(stripped)) is not None:
                blocks[block].append(value)
            elif stripped:
                block = ""
                others += 1
    if others:
        remarks.append(f"{path}: {others} lines hold no message and are passed over")
    if rows:
        return Table(iter(rows))
    columns = {
        name: lines[0] if len(lines) == 1 and isinstance(lines[0], list) else lines for name, lines in blocks.items()
    }
    return columns_table(path, _in_our_words(columns))


def _fields(line: str) -> dict[str, Any]:
    """Return the parts of `meaning -> [what the receiver saw ->] message -> act (label=...)`."""
    parts = [part.strip() for part in _LABEL.sub("", line).split(ARROW)]
    names = (
        ("meaning", "message")
        if len(parts) == 2
        else ("meaning", *("receiver_input",) * (len(parts) - 3), "message", "act")
    )
    return dict(zip(names, parts, strict=False))


def _list(line: str) -> Any:
    """Return the JSON of a line of a block; None if it is neither a list nor a number."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list | int | float) and not isinstance(value, bool) else None


def _in_our_words(blocks: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Return blocks as columns: outputs as the likeliest class, where labels are classes."""
    outputs, labels = blocks.pop("receiver_output", []), blocks.get("labels", [])
    if outputs and all(isinstance(output, int) for output in outputs):
        blocks["act"] = outputs
    elif outputs and all(isinstance(label, int) for label in labels) and all(map(_is_vector, outputs)):
        blocks["act"] = [output.index(max(output)) for output in outputs]
    return {"meaning" if name == "sender_input" else name: rows for name, rows in blocks.items()}


def _is_vector(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, int | float) for item in value)
