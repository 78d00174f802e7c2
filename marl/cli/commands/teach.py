"""`marl teach`: measure how easily fresh learners learn the language of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marl.cli.console import ERR, OUT, note, number
from marl.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from marl.rundir.load import Trained
    from trainers.transmission.teaching import Teaching


def teach(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, such as runs/lewis.")],
    seat: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SEAT", help="Seat to learn (may be repeated); by default every seat.", show_default=False
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps, each on 64 transcripts.")] = 100,
    every: Annotated[int, typer.Option(min=1, help="Steps between two evaluations.")] = 10,
    share: Annotated[
        float, typer.Option(metavar="P", help="Share of the deals that are taught; evaluations play all.")
    ] = 1.0,
    learners: Annotated[int, typer.Option(min=1, help="Learners for each seat, with different initial weights.")] = 3,
    seed: Annotated[int, typer.Option(help="Seed of weights, lessons and the choice of deals.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Let fresh learners imitate a seat of a run, and measure how well they play with the run's other policies.

    A listener's seat tests understanding, a speaker's seat speaking. Every few steps the learners play all evaluation
    deals with the run's own policies on the other seats; the table shows their mean score. Ease is the area under that
    curve, from 0 (nothing learned) to 1 (perfect at once), as a share of the way from the untaught score to the run's
    own. The third-party gap is what is missing at the end.

    With --share 0.5 they are taught half of the deals, which shows whether the language generalises.
    The run is not changed. All figures go to teaching.json in its folder.
    """
    from marl.rundir import load

    if not 0 < share <= 1:
        raise UserError(f"--share must be above 0 and at most 1, not {share:g}")
    with ERR.status("loading the policies"):
        trained = load.trained(run)
    seats = list(dict.fromkeys(seat or trained.seats))
    results = _teach(trained, seats, steps=steps, every=every, share=share, learners=learners, seed=seed)
    settings = {"run": str(run), "update": trained.version, "seed": seed, "share": share, "learners": learners}
    text = json.dumps(settings | {"seats": [result.model_dump() for result in results]}, indent=1)
    trained.dir.teaching.write_text(text + "\n", encoding="utf-8")
    if as_json:
        OUT.print_json(text)
    else:
        OUT.print(_curves(results))
        OUT.print(_measures(results))
    note(f"written: {trained.dir.teaching}")


def _teach(trained: Trained, seats: Sequence[str], *, learners: int, **more: Any) -> list[Teaching]:
    """Teach seat after seat, with a progress bar."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from trainers.transmission.teaching import teach as taught

    if strange := [seat for seat in seats if seat not in trained.seats]:
        raise UserError(f"--seat: there is no seat {strange[0]!r}; the seats are {', '.join(trained.seats)}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=ERR, transient=True) as bar:
        task = bar.add_task("learners", total=len(seats) * learners)

        def after(learner: int) -> None:
            bar.advance(task)

        return [taught(trained, seat, learners=learners, after=after, **more) for seat in seats]


def _curves(results: Sequence[Teaching]) -> Table:
    """Return the mean score of the learners of each seat, step by step."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("steps", justify="right")
    for result in results:
        table.add_column(result.seat, justify="right")
    for place, step in enumerate(results[0].steps):
        means = [sum(row[place] for row in result.scores) / len(result.scores) for result in results]
        table.add_row(str(step), *map(number, means))
    table.add_row("its own", *(number(result.own) for result in results), style="bold")
    return table


def _measures(results: Sequence[Teaching]) -> Table:
    """Return ease, quickness and third-party gap of each seat, or why there is none."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for column in ("seat", "ease", "steps to 95 %", "third-party gap", ""):
        table.add_column(column, justify="left" if column in ("seat", "") else "right")
    for result in results:
        why = result.ease.undefined or result.quickness.undefined
        figures = (number(result.ease.value), number(result.quickness.value, 0), number(result.third_party.value))
        table.add_row(result.seat, *figures, why, style="")
    return table
