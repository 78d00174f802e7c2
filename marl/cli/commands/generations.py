"""`marl generations`: iterated learning over generations of agents."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marl.cli.console import ERR, OUT, note, number
from marl.cli.setting_names import run_settings
from marl.cli.source import admit, build, run_config_class, source_settings
from marl.errors import UserError
from marl.settings import check, override

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

    from trainers.transmission.generations import Generation

MEASURES = ("score", "stability", "synchronisation", "topographic similarity")


def generations(
    source: Annotated[str, typer.Argument(metavar="CONFIG_OR_ARENA", help="A TOML file, or an arena's name or file.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Settings to change, such as updates=100.", show_default=False),
    ] = None,
    number_of: Annotated[
        int, typer.Option("--generations", min=1, help="Number of generations, including the first.")
    ] = 5,
    bottleneck: Annotated[
        int, typer.Option(min=1, help="Episodes of the previous generation that a generation imitates.")
    ] = 32,
    steps: Annotated[int, typer.Option(min=0, help="Optimizer steps of imitation, each on 64 transcripts.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Train generation after generation: each imitates a few episodes of the one before, then plays on its own.

    What is hard to learn from few examples gets lost, so a narrow --bottleneck favours what a learner can
    work out. Each generation is an ordinary run with other initial weights, in the folder generation-N under out
    (runs/generations-NAME unless given): marl study compares them. The same command resumes an interrupted one.

    In the table, pupils is the score after the lessons, before they played; stability is how much a generation says
    what its parents said, 1 for the same messages. All figures go to generations.json under out.
    """
    basis, config_class = source_settings(source), run_config_class()
    wanted = admit(source, override(basis, run_settings(words or [], basis, config_class)))
    if not any(word.partition("=")[0] == "out" for word in words or []):
        wanted["out"] = str(Path("runs") / f"generations-{Path(source).stem}")
    with ERR.status("loading PyTorch"):
        from trainers.run import Run
        from trainers.transmission.generations import FILE
    config: Any = check(config_class, wanted, source)
    try:
        results = _iterate(config, number_of, bottleneck, steps, lambda own: build(Run, own))
    except KeyboardInterrupt:
        again = ["marl", "generations", source, *(words or []), "--generations", str(number_of)]
        again += ["--bottleneck", str(bottleneck), "--steps", str(steps)]
        note(f"stopped; resume with: {shlex.join(again)}")
        raise typer.Exit(130) from None
    if as_json:
        OUT.print_json(json.dumps([result.model_dump() for result in results]))
    else:
        OUT.print(_table(results))
    note(f"written: {config.out / FILE}")


def _iterate(
    config: Any, generations: int, bottleneck: int, steps: int, make: Callable[[Any], Any]
) -> list[Generation]:
    """Train the generations with a progress bar."""
    from marl.study.generations import language_measures
    from trainers.checks import remedy
    from trainers.transmission.generations import iterate

    bar, advance = _progress(generations, config.updates)
    try:
        with bar:
            return iterate(
                config,
                measure=language_measures,
                generations=generations,
                bottleneck=bottleneck,
                steps=steps,
                progress=advance,
                make=make,
            )
    except FloatingPointError as error:
        raise UserError(f"{error}: {remedy(error)}") from None


def _progress(generations: int, updates: int) -> tuple[Progress, Callable[[int, Any], None]]:
    """Return a progress bar over all updates, and the function that moves it."""
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = ("generation {task.fields[at]}", "update {task.fields[update]}", "return {task.fields[score]}")
    bar = Bar(*map(TextColumn, columns), BarColumn(), TimeRemainingColumn(), console=ERR, refresh_per_second=4)
    task = bar.add_task("", total=generations * updates, at="0", update="0", score="–")

    def advance(generation: int, progress: Any) -> None:
        done = generation * updates + progress.update
        bar.update(task, completed=done, at=generation, update=progress.update, score=number(progress.score))

    return bar, advance


def _table(results: Sequence[Generation]) -> Table:
    """Return a table with one row for each generation."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("generation", "pupils", *MEASURES):
        table.add_column(column, justify="right")
    for result in results:
        figures = [result.measures[name].value if name in result.measures else None for name in MEASURES]
        table.add_row(str(result.number), number(result.pupils.value), *map(number, figures))
    return table
