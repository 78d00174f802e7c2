"""`marl study`: measure the languages of runs and their effects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from marl.cli.console import ERR, OUT, answer, note, number
from marl.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from marl.metrics.measure import Measure
    from marl.study.data.result import RunStudy, Study

KINDS: Final = "elcc, csar, marl-eval, parquet"
COUNTS: Final = ("meanings", "messages", "morphemes")

Columns = Annotated[
    list[str] | None,
    typer.Option(
        metavar="OURS=THEIRS",
        help="Name a column of a file of messages, such as meaning=sender_input (may be repeated); "
        "meaning=SHAPE,COLOR takes several.",
        show_default=False,
    ),
]
End = Annotated[
    str | None,
    typer.Option(
        metavar="SYMBOL",
        help="Symbol of a file of messages that ends a message, such as 0 of EGG; it is left out.",
        show_default=False,
    ),
]
Export = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KIND", help=f"Also export for other programs: {KINDS} (may be repeated).", show_default=False
    ),
]


def study(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="Folders of runs, log files, or files of messages (.csv, .jsonl, .parquet ...)."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole study as JSON.")] = False,
    to: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder for exports and for the study of all these runs together."),
    ] = None,
    export: Export = None,
    columns: Columns = None,
    end: End = None,
    no_forks: Annotated[
        bool, typer.Option("--no-forks", help="Load no policies: use the logs, and keep earlier results of forks.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of permutations, samples and bootstraps.")] = 0,
    permutations: Annotated[int, typer.Option(min=1, help="Shuffles behind each null distribution.")] = 200,
) -> None:
    """Measure the languages of runs: informativeness and form of messages, and their effects on listeners.

    Writes study.html, a page that needs no network, and study.json into the folder of each run. Several runs of one
    scenario are also played with each other. Messages of other programs can be studied from a table with the
    columns meaning and message (and act, speaker, place, own, episode, score, held_out where known), in CSV, TSV, JSON,
    Parquet, NumPy's .npz, or as EGG prints and saves interactions. --columns takes other names of columns.

    The table shows each measure beside its value under chance (its permutation null) and q, the p-value adjusted for
    all tests of this run. Undefined measures are left out; study.json gives the reason.
    """
    from marl.study import combine
    from marl.study.data import exports, foreign, source
    from marl.study.pipeline import study as examined

    _writable(export, to)
    how = foreign.reading(columns or [], end)
    with ERR.status("reading") as status:
        sources = [source.read(run, how) for run in runs]
        written = exports.export(export or [], sources, to, note) if to is not None else []
        result = examined(sources, seed=seed, permutations=permutations, forks=not no_forks, progress=status.update)
        result = combine.complete(result, runs, forks=not no_forks, progress=status.update)
        status.update("drawing")
        written += combine.write(result, runs, to)
    if to is not None:
        to.mkdir(parents=True, exist_ok=True)
        result.save(to / "study.json")
        written.append(to / "study.json")
    _print(result, as_json)
    for it, run in zip(sources, result.runs, strict=True):
        for remark in run.remarks:
            note(f"{it.path}: {remark}", "yellow")
    for path in dict.fromkeys(written):
        note(f"written: {path}")


def _print(result: Study, as_json: bool) -> None:
    """Print a study as tables, or as JSON."""
    if as_json:
        OUT.print_json(result.model_dump_json())
    else:
        for run in result.runs:
            _show(run)
        if result.across:
            answer(f"all {len(result.runs)} runs", "bold")
            OUT.print(_table({"interquartile means": result.across}, ends=True))


def _writable(export: list[str] | None, to: Path | None) -> None:
    """See that there is a folder to write into; raises UserError."""
    if export and to is None:
        raise UserError("--export: where to? Add --to FOLDER")
    if to is not None and to.exists() and not to.is_dir():
        raise UserError(f"--to {to} is a file: name a folder")


def _show(run: RunStudy) -> None:
    """Print what was found of one run."""
    answer(
        f"{run.name}"
        + (f", {run.arena}" if run.arena else "")
        + f": {run.episodes} episode{'s' * (run.episodes != 1)}",
        "bold",
    )
    groups: dict[str, Mapping[str, Measure]] = {"scores": run.scores}
    groups |= {f"{code.speaker}, message {code.place + 1}": code.measures for code in run.languages}
    groups |= {f"{effect.speaker} to {effect.listener}": effect.measures for effect in run.effects}
    OUT.print(_table({**groups, "what replacing loses": run.causes}))
    for code in run.languages:
        if code.dictionary:
            words = ", ".join(f"{word.symbol} = {word.concept}" for word in code.dictionary[:12])
            more = f" and {len(code.dictionary) - 12} more" if len(code.dictionary) > 12 else ""
            answer(f"dictionary of {code.speaker}: {words}{more}")
    answer()


def _table(groups: Mapping[str, Mapping[str, Measure]], ends: bool = False) -> Table:
    """Return the measures that are defined, group by group."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    columns = ["", "", "", *([] if ends else ["by chance", "q"]), "95 % interval"]
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place in (0, 2) else "right", no_wrap=True)
    for group, measures in groups.items():
        defined = {name: measure for name, measure in measures.items() if measure.value is not None}
        if defined:
            table.add_row(group, style="dim")
        for name, measure in defined.items():
            null, interval = measure.null, measure.interval
            chance = [] if ends else [number(null.mean), number(null.q)] if null else ["", ""]
            between = f"{number(interval.low)} – {number(interval.high)}" if interval else ""
            value = number(measure.value, 0 if measure.unit in COUNTS and not ends else 3)
            table.add_row(f"  {name}", value, measure.unit, *chance, between)
    return table
