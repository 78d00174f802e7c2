"""The `marl` command. Errors that a user can mend are one sentence on stderr and exit code 2.

Nothing here imports torch before a command needs it, so that `marl --help` is quick and `marl play` of random agents
needs no model at all.
"""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.main import get_command

from arenas import ArenaError
from marl import arena_file
from marl.commands.agent import agent, join
from marl.commands.arenas import arenas
from marl.commands.broker import broker
from marl.commands.check import examine
from marl.commands.console import ERR, OUT, equilibrium, note, number, percent, scores, standing
from marl.commands.evaluate import evaluate
from marl.commands.fork import fork
from marl.commands.generations import generating
from marl.commands.help import Group, command
from marl.commands.host import host
from marl.commands.new import new
from marl.commands.play import play
from marl.commands.replay import replay
from marl.commands.report import report
from marl.commands.study import study
from marl.commands.sweep import sweeping
from marl.commands.teach import teach
from marl.config import check, override, read_toml, write_toml
from marl.errors import UserError
from marl.rundir import RunDir
from protocols import ProtocolError

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.progress import Progress

USAGE_ERRORS: Final = typer.BadParameter.__mro__[1]  # click's UsageError, wherever this typer keeps it
EXTRAS: Final = {
    **dict.fromkeys(("torch", "transformers", "tokenizers", "safetensors", "tensorboard", "openskill"), "lm"),
    **dict.fromkeys(("scipy", "jinja2", "matplotlib", "plotly", "rapidfuzz"), "report"),
    "pyarrow": "parquet",
    **dict.fromkeys(("aiomqtt", "paho", "amqtt"), "mqtt"),
}
LENGTH: Final = ("updates", "stop_at", "stop_score")
"""Settings that say only when a run is over: it may be gone on with by others."""

app = typer.Typer(
    cls=Group,
    help="Agents that talk over a message bus, trained by a centralized-critic policy gradient.",
    add_completion=False,
    rich_markup_mode="rich",
)


@app.callback()
def common(
    debug: Annotated[bool, typer.Option("--debug", help="Show where errors come from.")] = False,
) -> None:
    """Take options that stand before the command; `main` reads them."""


command(app, "arenas")(arenas)
command(app, "new")(new)
command(app, "check")(examine)


@command(app, "train")
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
            help="Lose everything said on this channel, such as public; in the folder OUT-closed-CHANNEL unless out= "
            "is given.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Throw away the run that is in the folder.")] = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write no report.html at the end.")] = False,
) -> None:
    """Train agents in an arena; an interrupted run goes on where it was, a finished one with more updates=.

    Given an arena, every setting has a default and the run is kept in runs/ARENA. The folder then holds the
    configuration, the metrics (also for TensorBoard), logs of episodes, checkpoints, and a report. With --close it is
    the control run: what do the same agents reach without that channel?
    """
    wanted = _admitted(override(_settings(source), settings or []))
    with ERR.status("loading PyTorch"):
        from trainers.run import Run, RunConfig
    config = check(RunConfig, wanted, source)
    if close:
        own = not any(text.partition("=")[0] == "out" for text in settings or [])
        config = check(RunConfig, _closing(wanted, close, config.out, own), source)
    folder = RunDir(config.out)
    if overwrite:
        folder.clear()
    _prepare(folder, config)
    run = _made(Run, config)
    progress, advance = _progress(config.updates)
    try:
        with progress:
            summary = run.train(advance)
    except KeyboardInterrupt:
        note(f"stopped{_reached(folder)}; go on with: marl train {shlex.quote(str(config.out))}")
        raise typer.Exit(130) from None
    except FloatingPointError as error:
        raise UserError(f"{error}{_reached(folder)}: a smaller algorithm.lr may help") from None
    seconds = summary["training_seconds"]
    note(
        f"{summary['arena']}: {summary['updates']} updates, {summary['episodes']} episodes, {seconds:.0f} s of training"
    )
    if summary["critic_dead"]:
        note("the critic explained nothing in its last updates: try value_norm, another critic_lr, or no critic")
    OUT.print(scores(summary["evaluation"], ", ".join(["this run", *(f"{name} closed" for name in summary["closed"])])))
    if "exploitability" in summary:
        OUT.print(equilibrium(summary))
    if "league" in summary:
        OUT.print(standing(summary["league"]))
    if not no_report:
        _report(folder)


def _settings(source: str) -> dict[str, Any]:
    """Return the settings a source stands for: of a file, of a run's folder, or the defaults for an arena."""
    from arenas import make

    path = Path(source)
    if path.suffix == ".toml":
        return _anchored(read_toml(path), path.parent)
    if (folder := RunDir(path)).exists:
        return _anchored(read_toml(folder.config), path) | {"out": source}  # the folder may have been moved
    if arena_file.is_file(source):
        return {"scenario": {"arena": {"name": source}}, "out": f"runs/{path.stem}"}
    make(source)  # raises ArenaError, with a likely name, before anything slow is loaded
    return {"scenario": {"arena": {"name": source}}, "out": f"runs/{source}"}


def _anchored(settings: dict[str, Any], base: Path) -> dict[str, Any]:
    """Return settings in which the file of an arena, if it is in one, is found from everywhere."""
    scenario = settings.get("scenario")
    return settings | {"scenario": arena_file.anchored(scenario, base)} if isinstance(scenario, dict) else settings


def _admitted(settings: dict[str, Any]) -> dict[str, Any]:
    """Run the file of the arena, if it is in one: the user named it."""
    scenario = settings.get("scenario")
    return settings | {"scenario": arena_file.admit(scenario)} if isinstance(scenario, dict) else settings


def _closing(wanted: Mapping[str, Any], channels: Sequence[str], out: Path, own: bool) -> dict[str, Any]:
    """Return settings with these channels closed too, and a folder of its `own` for what is then another run."""
    scenario = wanted["scenario"]
    closed = list(scenario.get("closed", ()))
    new = [name for name in dict.fromkeys(channels) if name not in closed]
    if new and own:
        out = out.with_name("-".join([out.name, "closed", *new]))
    return {**wanted, "scenario": {**scenario, "closed": [*closed, *new]}, "out": str(out)}


def _prepare(folder: RunDir, config: BaseModel) -> None:
    """See whether the folder is free, or holds a run to go on with; raises UserError if neither."""
    if not folder.exists:
        return
    remedy = "add --overwrite to throw it away, or choose another folder with out="
    there = _flat(read_toml(folder.config))
    here = _flat(config.model_dump(mode="json", exclude_none=True))
    differing = [key for key in {**there, **here} if key != "out" and there.get(key) != here.get(key)]
    if other := [key for key in differing if key not in LENGTH]:
        keys = ", ".join(other[:3]) + (" and more" if len(other) > 3 else "")
        kind = "a finished" if folder.finished else "an unfinished"
        raise UserError(f"{folder.path} holds {kind} run with another configuration ({keys}): {remedy}")
    reached = _reached(folder)
    if folder.finished:
        made = int(folder.newest().name)
        if not differing or here["updates"] <= made:
            raise UserError(f"{folder.path} holds a finished run of {made} updates: go on with more updates=, {remedy}")
        folder.summary.unlink()
    elif not reached:
        folder.clear()  # it had not come to its first checkpoint
    if reached and differing:
        write_toml(folder.config, config)
    note(f"{folder.path}: going on{reached}" if reached else f"{folder.path}: beginning again")


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


def _made(make: Any, config: Any) -> Any:
    """Build the run; what the model library refuses is the configuration's fault."""
    try:
        return make(config)
    except (UserError, ArenaError, ProtocolError, ImportError, OSError):
        raise
    except Exception as error:  # the libraries agree on no type for it
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"the models cannot be made as configured ({reason}): see [policy], [algorithm], device"
        ) from error


def _progress(updates: int) -> tuple[Progress, Any]:
    """Return a progress bar and the function that moves it."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = ("return {task.fields[score]}", "gain {task.fields[gain]}", "success {task.fields[success]}")
    bar = Bar(
        TextColumn("update"),
        MofNCompleteColumn(),
        BarColumn(),
        *map(TextColumn, columns),
        TimeRemainingColumn(),
        console=ERR,
        refresh_per_second=4,
    )
    task = bar.add_task("", total=updates, score="–", gain="–", success="–")

    def advance(progress: Any) -> None:
        shown: dict[str, Any] = {"score": number(progress.score), "gain": number(progress.communication_gain, 2)}
        if progress.success is not None:  # known after evaluations only
            shown["success"] = percent(progress.success)
        bar.update(task, completed=progress.update, **shown)

    return bar, advance


def _report(folder: RunDir) -> None:
    """Write the report, or say what it needs."""
    from marl.report import write

    try:
        with ERR.status("writing the report"):
            write(folder)
    except ModuleNotFoundError as error:
        note(f"no report: {_sentence(error)}")
        return
    note(f"report: {folder.report}")


def _run_config() -> type[BaseModel]:
    with ERR.status("loading PyTorch"):
        from trainers.run import RunConfig
    return RunConfig


_COMMANDS: Final[dict[str, Callable[..., None]]] = {
    "sweep": sweeping(_run_config, _settings),
    "eval": evaluate,
    "play": play,
    "replay": replay,
    "fork": fork,
    "report": report,
    "study": study,
    "teach": teach,
    "generations": generating(_run_config, lambda source: _admitted(_settings(source)), _made),
    "host": host,
    "agent": agent,
    "join": join,
    "broker": broker,
}
for _name, _function in _COMMANDS.items():
    command(app, _name)(_function)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    debug = arguments[0] == "--debug"
    if not debug:
        for name in ("marl", "asyncio"):  # what failed is said in the sentence
            logging.getLogger(name).addHandler(logging.NullHandler())
    try:
        code = get_command(app).main(arguments, prog_name="marl", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except Exception as error:
        sentence = _sentence(error)
        if sentence is None or debug:
            raise
        note(f"error: {sentence}")
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


def _sentence(error: BaseException) -> str | None:
    """Return what to tell the user; None for what is a fault of the program."""
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
