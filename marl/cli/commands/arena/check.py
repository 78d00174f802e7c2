"""`marl check`: run the conformance suite on an arena."""

from __future__ import annotations

from typing import Annotated

import typer

from marl.cli.console import answer
from marl.cli.setting_names import arena_options


def examine(
    source: Annotated[str, typer.Argument(metavar="ARENA_OR_FILE", help="An arena's name, or the file of your own.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Parameters of the arena, such as n=6.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the episodes that are played.")] = 0,
) -> None:
    """Run the conformance suite on an arena, such as your own: Sabir's checks and PettingZoo's.

    Checks that pass are listed. The first one that fails is explained in one sentence that says how to fix it, and the
    exit code is 2. An arena file is imported, so its code runs. In your own tests, call arenas.testing.check_arena.
    """
    import arenas
    from arenas.testing.suite import check_arena
    from marl.scenario.arena_file import is_file

    name = arenas.load(source) if is_file(source) else source
    options = arena_options(settings or [], name)
    check_arena(lambda: arenas.make(name, **options), seed=seed, passed=lambda what: answer(f"ok  {what}"))
    answer(f"{source} is sound", "bold")
