"""Help pages: docstring paragraphs, options, then examples."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup
from typing_extensions import override

from marl.cli.console import answer

F = TypeVar("F", bound=Callable[..., Any])
EXAMPLES: Final[dict[str | None, Sequence[tuple[str, str]]]] = {
    "marl": (
        ("marl arenas", "list the games"),
        ("marl train lewis", "train two agents from scratch"),
        ("marl play runs/lewis", "watch what they say"),
        ("marl play lewis --seat sender_0=human", "play yourself"),
    ),
    "arenas": (
        ("marl arenas", "list all"),
        ("marl arenas reconstruction", "show one: rules, seats, known scores"),
        ("marl arenas my_arena.py", "show your own"),
        ("marl arenas --measure --episodes 200", "measured scores beside the known ones"),
    ),
    "new": (("marl new arena my_arena", "writes my_arena.py and test_my_arena.py"),),
    "check": (
        ("marl check my_arena.py", "check your own arena"),
        ("marl check lewis n=3 k=2", "with other parameters"),
    ),
    "train": (
        ("marl train lewis", "with the defaults, in runs/lewis"),
        ("marl train lewis n=6 k=6 out=runs/six", "a larger game"),
        ("marl train mine.toml algorithm.lr=3e-4 updates=500", "a config file, two settings changed"),
        ("marl train my_arena.py", "an arena of your own: marl new arena my_arena"),
        ("marl train runs/lewis", "resume an interrupted run"),
        ("marl train lewis --close public", "the control run without communication"),
    ),
    "sweep": (
        ("marl sweep lewis algorithm.credit=sequential,team --seeds 10", "compare two credit methods"),
        ("marl sweep mine.toml algorithm.lr=1e-3,3e-4 updates=200 out=runs/rates", "2 values x 10 seeds"),
        ("marl sweep mappo.toml ippo.toml --seeds 1,2,3 --jobs 2", "each file a configuration"),
        ("marl sweep runs/rates", "resume an interrupted sweep"),
        ("marl sweep --table runs/rates", "show the results so far"),
    ),
    "eval": (
        ("marl eval runs/lewis", "score beside the anchors"),
        ("marl eval runs/lewis --json", "the same as JSON"),
        ("marl eval runs/lewis --shuffle", "messages of other episodes: does it listen?"),
    ),
    "play": (
        ("marl play lewis", "random agents"),
        ("marl play lewis --seat sender_0=scripted:full", "the sender uses an optimal code"),
        ("marl play runs/lewis --episodes 3 --log games.jsonl", "watch a trained run and keep the log"),
        ("marl play negotiation --seat negotiator_0=openai:http://localhost:8000/v1#model", "a model on your server"),
        ("marl play guess_who --episodes 5 --seat asker_0=reflexion:openai:http://localhost:8000/v1#model", ""),
        ("marl play arithmetic tools.calculator.calls=2 --seat solver_0=human", "you solve, with a calculator"),
        ("marl play runs/lewis --seat sender_0=human", "you speak, the trained receiver listens"),
        ("marl play runs/a --seat receiver_0=trained:runs/b", "do two runs understand each other?"),
        ("""marl play runs/lewis 'channel=[{type="noise", p=0.2}]'""", ""),
    ),
    "replay": (
        ("marl replay games.jsonl", "print logged episodes"),
        ("marl replay runs/lewis --verify", "check that replay gives the same bytes"),
    ),
    "fork": (
        ("marl fork runs/lewis --say m2", "the receiver hears m2 instead"),
        ("marl fork runs/lewis --episode eval-train-3 --drop", "it hears nothing"),
        ("marl fork runs/lewis --inject m1 --as sender_0", "it also hears m1, an injected message"),
        ("marl fork runs/lewis --resample 8", "eight other futures"),
    ),
    "report": (("marl report runs/lewis", "writes runs/lewis/report.html"),),
    "study": (
        ("marl study runs/lewis", "writes runs/lewis/study.html and study.json"),
        ("marl study runs/a runs/b runs/c", "several runs, compared and cross-played"),
        ("marl study messages.csv", "messages of another program: columns meaning, message"),
    ),
    "teach": (
        ("marl teach runs/lewis", "both seats"),
        ("marl teach runs/lewis --seat receiver_0", "can a stranger understand the sender?"),
        ("marl teach runs/lewis --share 0.5 --json", "does it generalise to deals it was not shown?"),
    ),
    "generations": (
        ("marl generations lewis", "five generations"),
        ("marl generations mine.toml updates=100 --generations 10 --bottleneck 8", "few examples for each"),
        ("marl study runs/generations-lewis/generation-*", "compare their languages"),
    ),
    "host": (
        ("marl host mqtt://localhost lewis", "both seats wait for agents"),
        ("marl host mqtt://localhost lewis --seat receiver_0=random", "fill one seat here"),
        (
            "marl host mqtt://localhost runs/lewis --seat receiver_0=trained --episodes 5",
            "one seat by its trained policy",
        ),
    ),
    "agent": (
        ("marl agent mqtt://localhost --seat sender_0 --token abc", "a random agent"),
        (
            "marl agent mqtt://localhost --seat a_0 --seat b_0 --policy trained:runs/lewis",
            "two seats, trained policies",
        ),
    ),
    "join": (("marl join mqtt://localhost --seat sender_0 --token abc", "the line that the host printed"),),
    "broker": (
        ("marl broker", "start one on this machine"),
        ("marl broker mqtt://localhost", "check one: reachable, and how fast?"),
        ("marl broker --acl access --seat sender_0 --seat receiver_0", "with a password for each seat"),
    ),
}


def _print(name: str | None) -> None:
    examples = EXAMPLES.get(name, ())
    width = max((len(line) for line, remark in examples if remark), default=0)
    answer("Examples", "bold")
    for line, remark in examples:
        answer(f"  {line:<{width}}  {remark}".rstrip())


class Command(TyperCommand):
    """Typer command that prints its examples after its help."""

    @override
    def format_help(self, ctx: Any, formatter: Any) -> None:
        super().format_help(ctx, formatter)
        if self.name == "train":
            _print_settings()
        _print(self.name)


def _print_settings() -> None:
    """Print every setting of a run with its default, and its description where it has one."""
    from marl.cli.source import run_config_class
    from marl.settings import described

    answer("Settings (KEY=VALUE, or keys of a TOML file; docs/training.md explains them):")
    for name, default, text in described(run_config_class()):
        answer(f"  {name} = {default}" + (f"    {text}" if text else ""))
    answer()


class Group(TyperGroup):
    """Typer group that prints examples after its help."""

    @override
    def format_help(self, ctx: Any, formatter: Any) -> None:
        super().format_help(ctx, formatter)
        _print("marl")


def command(app: typer.Typer, name: str) -> Callable[[F], F]:
    """Return a decorator that registers a command; its docstring, with paragraphs unwrapped, becomes the help text."""

    def register(function: F) -> F:
        paragraphs = (inspect.getdoc(function) or "").split("\n\n")
        text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
        return app.command(name, cls=Command, help=text)(function)

    return register
