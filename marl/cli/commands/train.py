"""marl train: run a training job, with progress and a summary."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from marl.cli.console import ERR, OUT, equilibrium, note, number, percent, scores, standing
from marl.cli.errors import sentence
from marl.cli.setting_names import run_settings
from marl.cli.source import admit, build, run_config_class, source_settings
from marl.errors import UserError
from marl.rundir.folder import RunDir
from marl.settings import check, override, read_toml, write_toml

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.progress import Progress


PACE: Final = 0.25
"""Seconds between two pictures of the progress bar."""
LENGTH: Final = ("updates", "stop_at", "stop_score")
"""Settings that only decide when a run stops; they may differ on resume."""


def print_schema(wanted: bool) -> None:
    """Print the JSON schema of a run's configuration, for editors, and end."""
    if wanted:
        OUT.print_json(json.dumps(run_config_class().model_json_schema()))
        raise typer.Exit


def train(
    source: Annotated[
        str, typer.Argument(metavar="CONFIG_OR_ARENA", help="A TOML file, an arena's name or file, or a run's folder.")
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Settings to change, such as updates=100.", show_default=False),
    ] = None,
    close: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CHANNEL",
            help="Lose everything said on this channel, such as public; the run goes to OUT-closed-CHANNEL unless out= "
            "is given.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete the run in the folder and begin again.")
    ] = False,
    schema: Annotated[
        bool,
        typer.Option("--schema", callback=print_schema, is_eager=True, help="Print the JSON schema of configurations."),
    ] = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Do not write report.html at the end.")] = False,
) -> None:
    """Train agents in an arena, or resume a run: an interrupted one, or a finished one with more updates=.

    For an arena every setting has a default, and the run is written to runs/ARENA: configuration, metrics (also for
    TensorBoard), episode logs, checkpoints and a report. With --close it is a control run: what do the same agents
    reach without that channel?
    """
    basis = source_settings(source)
    with ERR.status("loading PyTorch"):
        from trainers.checks import remedy
        from trainers.run import Run, RunConfig
    wanted = admit(source, override(basis, run_settings(settings or [], basis, RunConfig)))
    config = check(RunConfig, wanted, source)
    if close:
        own = not any(text.partition("=")[0] == "out" for text in settings or [])
        config = check(RunConfig, _closing(wanted, close, config.out, own), source)
    folder = RunDir(config.out)
    progress, advance, watch = _progress(config.updates)
    run: Any = None
    try:
        with folder.locked():
            if overwrite:
                folder.clear()
            _prepare(folder, config)
            run = build(Run, config)
            with progress:
                summary = run.train(advance, watch)
    except KeyboardInterrupt:
        _stopped(folder, {} if run is None else run.result, not no_report)
        raise typer.Exit(130) from None
    except FloatingPointError as error:
        raise UserError(f"{error}{_reached(folder)}: {remedy(error)}") from None
    _print_summary(summary)
    if not no_report:
        _report(folder)


def _stopped(folder: RunDir, result: Mapping[str, Any], report: bool) -> None:
    """Print how to resume, and what the run reached at its last evaluation."""
    note(f"stopped{_reached(folder)}; resume with: marl train {shlex.quote(str(folder.path))}")
    if result:
        OUT.print(scores(result, f"this run, at its last evaluation{_reached(folder)}"))
        if report:
            _report(folder)


def _print_summary(summary: Mapping[str, Any]) -> None:
    """Print what a finished run reached."""
    seconds = summary["training_seconds"]
    note(
        f"{summary['arena']}: {summary['updates']} updates, {summary['episodes']} episodes, {seconds:.0f} s of training"
    )
    if summary.get("critic_dead"):
        note("the critic explained nothing in its last updates: try value_norm, another critic_lr, or no critic")
    OUT.print(scores(summary["evaluation"], ", ".join(["this run", *(f"{name} closed" for name in summary["closed"])])))
    if "exploitability" in summary:
        OUT.print(equilibrium(summary))
    if "league" in summary:
        OUT.print(standing(summary["league"]))


def _closing(wanted: Mapping[str, Any], channels: Sequence[str], out: Path, own: bool) -> dict[str, Any]:
    """Return settings with these channels closed as well; with `own`, in a folder named after them."""
    scenario = wanted["scenario"]
    closed = list(scenario.get("closed", ()))
    new = [name for name in dict.fromkeys(channels) if name not in closed]
    if new and own:
        out = out.with_name("-".join([out.name, "closed", *new]))
    return {**wanted, "scenario": {**scenario, "closed": [*closed, *new]}, "out": str(out)}


def _prepare(folder: RunDir, config: BaseModel) -> None:
    """Check that the folder is free or holds a run to resume, and prepare it; raises UserError otherwise."""
    if not folder.exists:
        return
    remedy = "add --overwrite to delete it, or choose another folder with out="
    there = _flat(read_toml(folder.config))
    here = _flat(config.model_dump(mode="json", exclude_none=True))
    differing = [key for key in {**there, **here} if key != "out" and there.get(key) != here.get(key)]
    if other := [key for key in differing if key not in LENGTH]:
        keys = ", ".join(other[:3]) + (" and more" if len(other) > 3 else "")
        kind = "a finished" if folder.finished else "an unfinished"
        raise UserError(f"{folder.path} holds {kind} run with another configuration ({keys}): {remedy}")
    reached = f" after update {int(folder.newest().name)}" if folder.numbered() else ""
    if folder.finished:
        done = int(folder.newest().name)
        if not differing or here["updates"] <= done:
            raise UserError(
                f"{folder.path} holds a finished run of {done} updates: resume with more updates=, {remedy}"
            )
        folder.summary.unlink()
    elif not folder.numbered():
        folder.clear()  # no checkpoint yet: nothing to resume from
    if reached and differing:
        write_toml(folder.config, config)
    note(f"{folder.path}: resuming{reached}" if reached else f"{folder.path}: starting again")


def _reached(folder: RunDir) -> str:
    try:
        return f" after update {int(folder.newest().name)}"
    except UserError:
        return ""


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _progress(updates: int) -> tuple[Progress, Any, Any]:
    """Return a progress bar, its callback after an update, and the one for the episodes within."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = ("return {task.fields[score]}", "gain {task.fields[gain]}", "success {task.fields[success]}")
    bar = Bar(
        TextColumn("update"),
        MofNCompleteColumn(),
        BarColumn(),
        *map(TextColumn, columns),
        TimeRemainingColumn(),
        TextColumn("{task.fields[phase]}"),
        console=ERR,
        refresh_per_second=4,
    )
    task = bar.add_task("", total=updates, score="–", gain="–", success="–", phase="")
    shown_at = 0.0

    def advance(progress: Any) -> None:
        shown: dict[str, Any] = {"score": number(progress.score), "gain": number(progress.communication_gain, 2)}
        if progress.success is not None:  # known after evaluations only
            shown["success"] = percent(progress.success)
        bar.update(task, completed=progress.update, **shown)

    def watch(what: str, done: int, total: int) -> None:
        nonlocal shown_at
        now = time.monotonic()
        if now - shown_at > PACE:
            shown_at = now
            bar.update(task, phase=f"{what} {done}/{total}")

    return bar, advance, watch


def _report(folder: RunDir) -> None:
    """Write the report, or print which package it needs."""
    from marl.report.report import write

    try:
        with ERR.status("writing the report"):
            write(folder)
    except ModuleNotFoundError as error:
        note(f"no report: {sentence(error)}")
        return
    note(f"report: {folder.report}")
