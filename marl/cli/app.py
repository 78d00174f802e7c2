"""The `marl` command: registers the subcommands and turns user errors into one sentence on stderr and exit code 2.

Nothing here imports torch before a command needs it: `marl --help` stays quick, and `marl play` with random agents
needs no model.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Final

import typer
from typer.main import get_command
from typing_extensions import override

from marl.cli.commands.arena.arenas import arenas
from marl.cli.commands.arena.check import examine
from marl.cli.commands.arena.new import new
from marl.cli.commands.evaluate import evaluate
from marl.cli.commands.fork import fork
from marl.cli.commands.generations import generations
from marl.cli.commands.play import play
from marl.cli.commands.remote.agent import agent, join
from marl.cli.commands.remote.broker import broker
from marl.cli.commands.remote.host import host
from marl.cli.commands.replay import replay
from marl.cli.commands.report import report
from marl.cli.commands.study import study
from marl.cli.commands.sweep import sweep_command
from marl.cli.commands.teach import teach
from marl.cli.commands.train import train
from marl.cli.console import answer, note
from marl.cli.errors import sentence
from marl.cli.help import Group, command

app = typer.Typer(
    cls=Group,
    help="Train language-model agents that talk over a message bus, and study what they say.\n\n"
    "Begin with `marl arenas` (the games) and `marl train lewis`. A run is a folder: play, eval, report and study read "
    "it. `marl COMMAND --help` explains a command and shows examples.",
    add_completion=False,
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    """Print the versions of Sabir and of what decides its results, and end."""
    if wanted:
        from marl.rundir.provenance import versions

        answer(", ".join(f"{name} {number}" for name, number in versions().items()))
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the versions and exit.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error. Stands before the command.")
    ] = False,
) -> None:
    """Accept options that stand before the command; `main` reads them."""


class _Warnings(logging.Handler):
    """Prints warnings to stderr, and no errors: the error sentence already says those."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING:
            note(f"warning: {record.getMessage()}")


WARNINGS: Final = _Warnings()


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code: 0, 1 (a check failed), 2 (user error) or 130 (interrupted)."""
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    debug = arguments[0] == "--debug"
    if not debug:
        logging.getLogger("marl").addHandler(WARNINGS)
        logging.getLogger("asyncio").addHandler(logging.NullHandler())  # the error sentence already says it
    try:
        code = get_command(app).main(arguments, prog_name="marl", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except Exception as error:
        text = sentence(error)
        if text is None or debug:
            raise
        note(f"error: {text}")
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


_COMMANDS: Final[dict[str, Callable[..., None]]] = {
    "arenas": arenas,
    "new": new,
    "check": examine,
    "train": train,
    "sweep": sweep_command(main),
    "eval": evaluate,
    "play": play,
    "replay": replay,
    "fork": fork,
    "report": report,
    "study": study,
    "teach": teach,
    "generations": generations,
    "host": host,
    "agent": agent,
    "join": join,
    "broker": broker,
}
for _name, _function in _COMMANDS.items():
    command(app, _name)(_function)
