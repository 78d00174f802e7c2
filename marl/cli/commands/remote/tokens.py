"""Tokens of seats: from the command line, a file or the environment, since others see a process's command line."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from marl.errors import UserError

TOKEN: Final = "SABIR_TOKEN"
"""Environment variable with one token for each seat, in their order, between spaces."""
TokenFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help=f"File with the tokens: the host's tokens.json, or one a line. Else {TOKEN} in the environment has them.",
        show_default=False,
    ),
]


def of_seats(seats: Sequence[str], tokens: Sequence[str], file: Path | None) -> dict[str, str]:
    """Return seat -> token, empty without tokens; raises UserError unless there is one for each seat."""
    if tokens and file is not None:
        raise UserError("--token and --token-file both give the tokens: give one of them")
    source = "--token"
    if file is not None:
        source = f"--token-file {file}"
        try:
            text = file.read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "not UTF-8"
            raise UserError(
                f"{source} cannot be read ({why}): give the host's tokens.json, or one token a line"
            ) from None
        if text.lstrip().startswith("{"):
            return _of_json(seats, text, source)
        tokens = text.split()
    elif not tokens:
        source, tokens = TOKEN, os.environ.get(TOKEN, "").split()
        if not tokens:
            return {}
    if len(tokens) != len(seats):
        raise UserError(f"{source}: {len(tokens)} tokens for {len(seats)} seats; give one for each, in the same order")
    return dict(zip(seats, tokens, strict=True))


def _of_json(seats: Sequence[str], text: str, source: str) -> dict[str, str]:
    try:
        saved = json.loads(text)
        return {seat: str(saved[seat]) for seat in seats}
    except (ValueError, RecursionError):
        raise UserError(f"{source} is not JSON: give the host's tokens.json, or one token a line") from None
    except KeyError as error:
        raise UserError(f"{source} has no token for {error.args[0]}: give the tokens.json of this run's host") from None
