"""Error messages of the command line: one sentence for what a user can fix."""

from __future__ import annotations

from typing import Final

import typer

from arenas import ArenaError
from marl.errors import UserError
from protocols import ProtocolError

USAGE_ERRORS: Final = typer.BadParameter.__mro__[1]  # click's UsageError, wherever this typer keeps it
EXTRAS: Final = {
    **dict.fromkeys(("torch", "transformers", "tokenizers", "safetensors", "tensorboard", "openskill"), "lm"),
    **dict.fromkeys(("scipy", "jinja2", "matplotlib", "plotly", "rapidfuzz"), "report"),
    "pyarrow": "parquet",
    **dict.fromkeys(("aiomqtt", "paho", "amqtt"), "mqtt"),
}


def sentence(error: BaseException) -> str | None:
    """Return the sentence for a user error; None for a bug, whose traceback is shown."""
    while isinstance(error, BaseExceptionGroup):  # an event loop's tasks failed: the first one's reason
        error = error.exceptions[0]
    if isinstance(error, USAGE_ERRORS):
        return f"{error.format_message()} (marl --help shows how)"  # type: ignore[attr-defined]
    if isinstance(error, ModuleNotFoundError):
        missing = (error.name or "").partition(".")[0]
        extra = EXTRAS.get(missing)
        return f"this needs the package {missing}: pip install 'sabir[{extra}]'" if extra else None
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        return f"{error.filename}: {reason}" if error.filename else reason
    return str(error) if isinstance(error, UserError | ArenaError | ProtocolError) else None
