"""The `marl` command."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    from marl.cli.app import main as run

    run(argv)
