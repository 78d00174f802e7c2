"""`marl arenas`: which games there are, and their rules."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from marl.commands.console import ANCHORS, ERR, OUT, answer, note, number, show

if TYPE_CHECKING:
    from arenas import Arena


def arenas(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="One arena, in full; or pettingzoo:, openspiel:, textarena:.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the arenas; or show one: its rules, seats, parameters, known scores, and an episode of random play.

    Games of other libraries are arenas too, such as openspiel:kuhn_poker; a library's name with its colon lists them.
    """
    from arenas import bridges, make, names

    if name is not None and name.endswith(":"):
        with ERR.status(f"trying the games of {name[:-1]}"):
            playable = bridges.games(name[:-1])
        if as_json:
            OUT.print_json(json.dumps(playable))
        else:
            _library(name, playable)
        return

    if name is None:
        found = {each: _description(each, make(each)) for each in names()}
        if as_json:
            OUT.print_json(json.dumps(found))
        else:
            _table(found)
        return
    arena = make(name)
    description = _description(name, arena)
    if as_json:
        OUT.print_json(json.dumps(description))
    else:
        _page(name, description)


def _description(name: str, arena: Arena) -> dict[str, Any]:
    from arenas import find

    anchors = arena.anchors()
    parameters = inspect.signature(find(name)).parameters.values()
    return {
        "name": name,
        "rules": arena.rules,
        "tags": list(arena.tags),
        "seats": {seat: [spec.describe() for spec in specs] for seat, specs in arena.replies.items()},
        "parameters": {p.name: None if p.default is p.empty else p.default for p in parameters},
        "ranges": {parameter: list(limits) for parameter, limits in arena.ranges.items()},
        "deals": arena.cases or None,
        "anchors": {anchor: getattr(anchors, anchor) for anchor in ANCHORS},
        "values": dict(zip(arena.replies, anchors.values, strict=True)) if anchors.values else None,
    }


def _library(name: str, playable: dict[str, str]) -> None:
    """Print which games of a library can be played here, and why the others cannot."""
    for game, problem in playable.items():
        if not problem:
            answer(f"{name}{game}")
    for game, problem in playable.items():
        if problem:
            note(f"{name}{game} cannot be played here: {problem}")


def _table(found: dict[str, dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("arena", "seats", "kind", "random", "silent", "optimum"):
        table.add_column(column, justify="right" if column in ("random", "silent", "optimum") else "left")
    for name, about in found.items():
        anchors = [number(about["anchors"][anchor], 2) for anchor in ("random", "silent", "full")]
        table.add_row(name, ", ".join(about["seats"]), ", ".join(about["tags"]), *anchors, style="")
    OUT.print(table)
    answer("\n`marl arenas NAME` shows one in full, `marl train NAME` trains agents in it.")


def _page(name: str, about: dict[str, Any]) -> None:
    from marl import build
    from marl.policy import Random
    from marl.rollout import Plan, collect

    def heading(text: str) -> None:
        answer(f"\n{text}", "bold")

    OUT.print(Text.assemble((name, "bold"), f"  {', '.join(about['tags'])}\n"))
    paragraphs = [" ".join(paragraph.split()) for paragraph in about["rules"].split("\n\n")]
    OUT.print("\n\n".join(paragraphs))
    heading("Seats")
    for seat, replies in about["seats"].items():
        answer(f"  {seat} {'; or '.join(replies)}")
    if about["parameters"]:
        heading("Parameters")
    for parameter, default in about["parameters"].items():
        limits = about["ranges"].get(parameter)
        answer(f"  {parameter} = {default}" + (f"  ({limits[0]} to {limits[1]})" if limits else ""))
    heading("Known scores")
    for anchor, label in ANCHORS.items():
        if about["anchors"][anchor] is not None:
            answer(f"  {label:<18} {number(about['anchors'][anchor])}")
    if about["values"]:
        each = ", ".join(f"{seat} {number(value)}" for seat, value in about["values"].items())
        answer(f"  {'value of the game':<18} {each}")
    heading("Random play")
    world = build.world({"arena": {"name": name}}, name)
    (episode,) = collect(world, [Plan("random", dict.fromkeys(world.agents, Random()), 0)])
    show(episode.log)
