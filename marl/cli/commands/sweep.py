"""`marl sweep`: configurations x seeds, resumed where they stopped, and what they say together."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marl.cli.console import ERR, answer, note
from marl.cli.setting_names import run_settings
from marl.cli.source import admit_algorithm, run_config_class, source_settings
from marl.errors import UserError

if TYPE_CHECKING:
    from rich.progress import Progress

    from marl.sweep.child import Main
    from marl.sweep.plan import Sweep
    from marl.sweep.run import Standing


def sweep_command(main: Main) -> Callable[..., None]:
    """Return the `sweep` command; every run of a sweep is a `marl train`, started through `main`."""

    def sweep(
        words: Annotated[
            list[str],
            typer.Argument(
                metavar="CONFIG_OR_ARENA",
                help="TOML files or an arena's name, then settings KEY=V1,V2; or the folder of a sweep.",
                show_default=False,
            ),
        ],
        seeds: Annotated[
            str | None,
            typer.Option(metavar="SEEDS", help="10 for seeds 1 to 10, or a list such as 1,5,9; by default 10."),
        ] = None,
        jobs: Annotated[int | None, typer.Option(min=1, help="Runs at the same time; by default one per core.")] = None,
        table: Annotated[
            bool, typer.Option("--table", help="Run nothing: show the results so far of the sweep in this folder.")
        ] = False,
    ) -> None:
        """Run configurations x seeds, each in a process of its own, and compare them in one table and one page.

        KEY=V1,V2 tries both values, and several such settings every combination; KEY=V sets it for all. A config file
        may say the same in a table named sweep, with a list for each setting, and `seeds`. With several files each is a
        configuration of its own. Settings of scenario.arena make tasks; all others are compared with each other.

        Each run is an ordinary one, in the folder TASK/CONFIGURATION/seed-N under out=FOLDER (runs/sweep-NAME unless
        given). Finished runs are kept and interrupted ones resumed, so the same command resumes a sweep, and one with
        more seeds or values extends it. A failed run does not stop the others; the exit code is then 1.

        The folder then holds table.md, sweep.html (learning curves and intervals) and results.json (for marl-eval).
        """
        sources, settings, out = _split_words(words)
        folder = out or Path(sources[0] if len(sources) == 1 else "")
        there = len(sources) == 1 and out is None and (Path(sources[0]) / "sweep.toml").is_file()
        if table or there:
            _only_the_folder(sources, settings, out, seeds, table)
            wanted = _load(folder)
        else:
            wanted, folder = _plan(sources, settings, seeds, out)
        if table:
            _show(wanted, folder)
            return
        _run(wanted, folder, jobs or len(os.sched_getaffinity(0)), main)

    return sweep


def _split_words(words: Sequence[str]) -> tuple[list[str], list[str], Path | None]:
    """Split the words of the command line into sources, settings, and the folder of out= (None if absent)."""
    sources = [word for word in words if "=" not in word or _exists(word)]
    settings = [word for word in words if word not in sources]
    outs = [word.partition("=")[2] for word in settings if word.startswith("out=")]
    if not sources:
        raise UserError(
            "name what to sweep first: a TOML file or an arena, such as marl sweep lewis algorithm.lr=1e-3,1e-4"
        )
    return (
        sources,
        [word for word in settings if not word.startswith("out=")],
        Path(outs[-1]).expanduser() if outs else None,
    )


def _exists(word: str) -> bool:
    """Whether a word is the path of something; one that is too long for a path is none."""
    try:
        return Path(word).exists()
    except OSError:
        return False


def _only_the_folder(
    sources: Sequence[str], settings: Sequence[str], out: Path | None, seeds: str | None, table: bool
) -> None:
    if len(sources) > 1 or settings or out or seeds:
        what = "--table takes" if table else "to resume a sweep, give"
        raise UserError(f"{what} the folder of a sweep alone; to extend a sweep, give its files and settings again")


def _load(folder: Path) -> Sweep:
    from marl.sweep.plan import load

    return load(folder)


def _plan(
    sources: Sequence[str],
    settings: Sequence[str],
    seeds: str | None,
    out: Path | None,
) -> tuple[Sweep, Path]:
    """Plan the sweep and create its folder."""
    from marl.sweep.plan import SweepSource, begin, plan

    read = [
        SweepSource(Path(source).name.removesuffix(".toml"), admit_algorithm(source, source_settings(source)))
        for source in sources
    ]
    config = run_config_class()
    settings = run_settings(settings, read[0].settings, config)
    folder = out or Path("runs") / f"sweep-{'-'.join(source.name for source in read)}"
    return begin(folder, plan(read, settings, seeds, config)), folder


def _run(sweep: Sweep, folder: Path, jobs: int, main: Main) -> None:
    """Run the unfinished runs, then show all results."""
    from marl.sweep.run import run

    members = sweep.members(folder)
    done = sum(member.dir.finished for member in members)
    note(
        f"{folder}: {len(sweep.configs)} configurations x {len(sweep.seeds)} seeds, "
        + (f"{done} of {len(members)} runs done, " if done else f"{len(members)} runs, ")
        + f"{jobs} at once"
    )
    bar, advance = _progress(len(members))
    try:
        with bar:
            failures = run(folder, members, jobs, main, advance)
    except KeyboardInterrupt:
        note(f"stopped; resume with: marl sweep {shlex.quote(str(folder))}")
        raise typer.Exit(130) from None
    for member, reason in failures:
        note(f"failed: {member.name}: {reason} ({member.dir.path})")
    if len(failures) < len(members):
        _show(sweep, folder)
    if failures:
        note(
            f"{len(failures)} of {len(members)} runs failed; try them again with: marl sweep {shlex.quote(str(folder))}"
        )
        raise typer.Exit(1)


def _progress(runs: int) -> tuple[Progress, Callable[[Standing], None]]:
    """Return a progress bar over runs and the function that moves it."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    bar = Bar(
        TextColumn("runs {task.fields[finished]}/{task.total}"),
        BarColumn(),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=ERR,
        refresh_per_second=4,
    )
    task = bar.add_task("", total=runs, finished=0, state="")

    def advance(standing: Standing) -> None:
        failed = f", {standing.failed} failed" if standing.failed else ""
        state = f"{len(standing.running)} running{failed}"
        bar.update(task, completed=standing.work, finished=standing.finished, state=state)

    return bar, advance


def _show(sweep: Sweep, folder: Path) -> None:
    """Print the table and write the files; raises UserError if no run is finished."""
    from marl.sweep import export, page
    from marl.sweep.results import gather
    from marl.sweep.table import markdown, text
    from marl.sweep.table import note as remark

    results = gather(sweep, folder)
    if not any(result.runs for result in results):
        raise UserError(f"{folder}: no run is finished yet: there is nothing to show")
    for line in text(results):
        answer(line)
    note(remark(results), "dim")
    (folder / "table.md").write_text(markdown(results))
    (folder / "results.json").write_text(json.dumps(export.marl_eval(results), indent=1) + "\n")
    try:
        answer(str(page.write(results, folder)))
    except ModuleNotFoundError as error:
        note(f"no page: this needs the package {error.name}: pip install 'sabir[report]'")
