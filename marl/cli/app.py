"""The `marl` command. Errors that a user can mend are one sentence on stderr and exit code 2.

Nothing here imports torch before a command needs it, so that `marl --help` is quick and `marl play` of random agents
needs no model at all.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Final

import typer
from typer.main import get_command

from marl.cli.commands.agent import agent, join
from marl.cli.commands.arenas import arenas
from marl.cli.commands.broker import broker
from marl.cli.commands.check import examine
from marl.cli.commands.evaluate import evaluate
from marl.cli.commands.fork import fork
from marl.cli.commands.generations import generations
from marl.cli.commands.host import host
from marl.cli.commands.new import new
from marl.cli.commands.play import play
from marl.cli.commands.replay import replay
from marl.cli.commands.report import report
from marl.cli.commands.study import study
from marl.cli.commands.sweep import sweep_command
from marl.cli.commands.teach import teach
from marl.cli.commands.train import train
from marl.cli.console import note
from marl.cli.errors import sentence
from marl.cli.help import Group, command

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
