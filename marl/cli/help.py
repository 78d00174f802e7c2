"""Help pages: the docstring's paragraphs, the options, and examples line by line."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from marl.cli.console import answer

F = TypeVar("F", bound=Callable[..., Any])
EXAMPLES: Final[dict[str | None, Sequence[tuple[str, str]]]] = {
    "marl": (
        ("marl arenas", "which games there are"),
        ("marl train lewis", "train two agents from scratch"),
        ("marl play runs/lewis", "watch what they say"),
        ("marl play lewis --seat sender_0=human", "play yourself"),
    ),
    "arenas": (
        ("marl arenas", "all"),
        ("marl arenas reconstruction", "one, with its rules"),
        ("marl arenas my_arena.py", "your own"),
        ("marl arenas --measure --episodes 200", "scores as they are played, beside the known ones"),
    ),
    "new": (("marl new arena my_arena", "writes my_arena.py and test_my_arena.py"),),
    "check": (("marl check my_arena.py", ""), ("marl check lewis n=3 k=2", "")),
    "train": (
        ("marl train lewis", ""),
        ("marl train lewis scenario.arena.n=6 scenario.arena.k=6 out=runs/six", ""),
        ("marl train mine.toml algorithm.lr=3e-4 updates=500", ""),
        ("marl train my_arena.py", "an arena of your own: marl new arena my_arena"),
        ("marl train runs/lewis", "go on with an interrupted run"),
        ("marl train lewis --close public", "the control run without communication"),
    ),
    "sweep": (
        ("marl sweep lewis algorithm.credit=sequential,team --seeds 10", ""),
        ("marl sweep mine.toml algorithm.lr=1e-3,3e-4 updates=200 out=runs/rates", "2 values x 10 seeds"),
        ("marl sweep mappo.toml ippo.toml --seeds 1,2,3 --jobs 2", "each file a configuration"),
        ("marl sweep runs/rates", "go on with an interrupted sweep"),
        ("marl sweep --table runs/rates", "what it has found so far"),
    ),
    "eval": (
        ("marl eval runs/lewis", ""),
        ("marl eval runs/lewis --json", ""),
        ("marl eval runs/lewis --shuffle", "does it listen?"),
    ),
    "play": (
        ("marl play lewis", ""),
        ("marl play lewis --seat sender_0=scripted:full", "the sender speaks the best code there is"),
        ("marl play runs/lewis --episodes 3 --log games.jsonl", ""),
        ("marl play negotiation --seat negotiator_0=openai:http://localhost:8000/v1#model", "a server of yours"),
        ("marl play guess_who --episodes 5 --seat asker_0=reflexion:openai:http://localhost:8000/v1#model", ""),
        ("marl play arithmetic tools.calculator.calls=2 --seat solver_0=human", "with a tool"),
        ("marl play runs/lewis --seat sender_0=human", "you speak, the trained receiver listens"),
        ("marl play runs/a --seat receiver_0=trained:runs/b", "do two runs understand each other?"),
        ("""marl play runs/lewis 'channel=[{type="noise", p=0.2}]'""", ""),
    ),
    "replay": (("marl replay games.jsonl", ""), ("marl replay runs/lewis --verify", "")),
    "fork": (
        ("marl fork runs/lewis --say m2", "the receiver hears m2 instead"),
        ("marl fork runs/lewis --episode eval-train-3 --drop", "it hears nothing"),
        ("marl fork runs/lewis --inject m1 --as sender_0", "it hears m1 too, which nobody said"),
        ("marl fork runs/lewis --resample 8", "eight other futures"),
    ),
    "report": (("marl report runs/lewis", ""),),
    "study": (
        ("marl study runs/lewis", "writes runs/lewis/study.json"),
        ("marl study runs/a runs/b runs/c", "and what they have in common"),
        ("marl study messages.csv", "what another program wrote: columns meaning, message"),
    ),
    "teach": (
        ("marl teach runs/lewis", "both seats"),
        ("marl teach runs/lewis --seat receiver_0", "can a stranger understand the sender?"),
        ("marl teach runs/lewis --share 0.5 --json", "also what it was not shown?"),
    ),
    "generations": (
        ("marl generations lewis", ""),
        ("marl generations mine.toml updates=100 --generations 10 --bottleneck 8", ""),
        ("marl study runs/generations-lewis/generation-*", "the languages beside each other"),
    ),
    "host": (
        ("marl host mqtt://localhost lewis", "both seats wait for someone"),
        ("marl host mqtt://localhost lewis --seat receiver_0=random", "one is filled here"),
        ("marl host mqtt://localhost runs/lewis --seat receiver_0=trained --episodes 5", ""),
    ),
    "agent": (
        ("marl agent mqtt://localhost --seat sender_0 --token abc", ""),
        ("marl agent mqtt://localhost --seat a_0 --seat b_0 --policy trained:runs/lewis", ""),
    ),
    "join": (("marl join mqtt://localhost --seat sender_0 --token abc", "as the host printed it"),),
    "broker": (
        ("marl broker", "start one here"),
        ("marl broker mqtt://localhost", "is it there, and how fast?"),
        ("marl broker --acl access --seat sender_0 --seat receiver_0", "each with a password"),
    ),
}


def _print(name: str | None) -> None:
    examples = EXAMPLES.get(name, ())
    width = max((len(line) for line, remark in examples if remark), default=0)
    answer("Examples", "bold")
    for line, remark in examples:
        answer(f"  {line:<{width}}  {remark}".rstrip())


class Command(TyperCommand):
    """A command whose help ends with its examples."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the page, then the examples."""
        super().format_help(ctx, formatter)
        _print(self.name)


class Group(TyperGroup):
    """The command above the others."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the page, then the examples."""
        super().format_help(ctx, formatter)
        _print("marl")


def command(app: typer.Typer, name: str) -> Callable[[F], F]:
    """Register a function as a command; line breaks within a paragraph of its docstring are no line breaks of help."""

    def register(function: F) -> F:
        paragraphs = (inspect.getdoc(function) or "").split("\n\n")
        text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
        return app.command(name, cls=Command, help=text)(function)

    return register
