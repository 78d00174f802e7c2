"""`marl arenas`: list the games, show one, or measure their scores."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from marl.cli.console import ANCHORS, ERR, OUT, answer, note, number, show
from marl.cli.setting_names import arena_options
from marl.errors import UserError

if TYPE_CHECKING:
    from arenas import Arena

CONVENTION = "An episode's score is the sum of all it pays a seat, averaged over the seats."


def arenas(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="One arena: its name or file; or pettingzoo:, openspiel:, textarena:."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Parameters of the arena, such as n=6.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure", help="Play random replies and all scripts, and print their scores as a Markdown table."
        ),
    ] = False,
    episodes: Annotated[int, typer.Option(min=2, help="Episodes for each score, with --measure.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the episodes.")] = 0,
) -> None:
    """List the arenas, or show one: rules, seats, parameters, known scores, splits, scripts, an example episode.

    Games of other libraries are arenas too, such as openspiel:kuhn_poker; a library's name with its colon lists them.

    The example episode is played by the best script, or at random if there is none. The score of an episode is its
    return: what it pays a seat, summed over the episode, averaged over the seats. With --measure, known scores
    stand beside measured ones with a 95 % confidence interval.
    """
    from arenas import names
    from marl.cli import anchor_table as table
    from marl.scenario import arena_file

    if name is not None and name.endswith(":"):
        _library(name, as_json)
        return
    if name is not None and arena_file.is_file(name):
        name = str(arena_file.admit({"arena": {"name": name, **arena_options(settings or [], name)}})["arena"]["name"])
    games = {game: _make(game, settings) for game in ([name] if name else names())}
    if measure:
        table.write(games, episodes, seed, as_json=as_json)
        return
    descriptions = {game: _description(game, arena) for game, arena in games.items()}
    if as_json:
        OUT.print_json(json.dumps(descriptions if name is None else descriptions[name]))
    elif name is None:
        _table(descriptions)
    else:
        _page(name, descriptions[name], settings, seed)


def _make(name: str, settings: list[str] | None) -> Arena:
    from arenas import make

    return make(name, **arena_options(settings or [], name))


def _description(name: str, arena: Arena) -> dict[str, Any]:
    from arenas import find
    from arenas.solvers.measure import best, stages

    anchors = arena.anchors()
    parameters = inspect.signature(find(name)).parameters.values()
    return {
        "name": name,
        "rules": arena.rules,
        "tags": list(arena.tags),
        "seats": {seat: [spec.describe() for spec in specs] for seat, specs in arena.replies.items()},
        "channels": {channel: list(members) for channel, members in arena.channels.items()},
        "parameters": {p.name: None if p.default is p.empty else p.default for p in parameters},
        "ranges": {parameter: list(limits) for parameter, limits in arena.ranges.items()},
        "deals": arena.cases or None,
        "splits": {split: len(cases) for split, cases in arena.splits().items()},
        "stages": list(stages(arena)),
        "convention": CONVENTION,
        "anchors": {anchor: getattr(anchors, anchor) for anchor in ANCHORS},
        "values": dict(zip(arena.replies, anchors.values, strict=True)) if anchors.values else None,
        "scripts": list(arena.scripts()),
        "best_script": best(arena.scripts()) if arena.scripts() else None,
    }


def _library(name: str, as_json: bool) -> None:
    """Print which games of a library can be played here, and why the others cannot."""
    from arenas import bridges

    with ERR.status(f"trying the games of {name[:-1]}"):
        playable = bridges.games(name[:-1])
    if as_json:
        OUT.print_json(json.dumps(playable))
        return
    for game, problem in playable.items():
        if not problem:
            answer(f"{name}{game}")
    for game, problem in playable.items():
        if problem:
            note(f"{name}{game} cannot be played here: {problem}")


def _table(descriptions: Mapping[str, dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("arena", "seats", "kind", "random", "silent", "optimum"):
        table.add_column(column, justify="right" if column in ("random", "silent", "optimum") else "left")
    for name, about in descriptions.items():
        anchors = [number(about["anchors"][anchor], 2) for anchor in ("random", "silent", "full")]
        table.add_row(name, ", ".join(about["seats"]), ", ".join(about["tags"]), *anchors, style="")
    OUT.print(table)
    answer("\n`marl arenas NAME` shows one in full, `marl train NAME` trains agents in it.")


def _heading(text: str) -> None:
    answer(f"\n{text}", "bold")


def _page(name: str, about: Mapping[str, Any], settings: list[str] | None, seed: int) -> None:
    OUT.print(Text.assemble((name, "bold"), f"  {', '.join(about['tags'])}\n"))
    paragraphs = [" ".join(paragraph.split()) for paragraph in about["rules"].split("\n\n")]
    OUT.print("\n\n".join(paragraphs))
    _heading("Seats")
    for seat, replies in about["seats"].items():
        answer(f"  {seat} {'; or '.join(replies)}")
    for channel, members in about["channels"].items():
        answer(f"  channel {channel}: {', '.join(members)}")
    if about["parameters"]:
        _heading("Parameters")
    for parameter, default in about["parameters"].items():
        limits = about["ranges"].get(parameter)
        answer(f"  {parameter} = {default}" + (f"  ({limits[0]} to {limits[1]})" if limits else ""))
    for split, deals in about["splits"].items():
        answer(f"  split {split}: {deals} deals, each equally likely")
    _heading("Known scores")
    for anchor, label in ANCHORS.items():
        if about["anchors"][anchor] is not None:
            answer(f"  {label:<18} {number(about['anchors'][anchor])}")
    if about["values"]:
        values = ", ".join(f"{seat} {number(value)}" for seat, value in about["values"].items())
        answer(f"  {'value of the game':<18} {values}")
    fewest, most = about["stages"]
    answer(f"  {CONVENTION}")
    answer(f"  Random episodes have {fewest if fewest == most else f'{fewest} to {most}'} stages.")
    _example(name, about, settings, seed)


def _example(name: str, about: Mapping[str, Any], settings: list[str] | None, seed: int) -> None:
    """Print an episode of the best script."""
    from marl.cli.seats import script_of
    from marl.policy.scripted import Random
    from marl.rollout.collect import collect
    from marl.rollout.plan import Plan
    from marl.scenario.world import load_world

    if about["scripts"]:
        _heading(f"An episode of the script {about['best_script']} (of {', '.join(about['scripts'])})")
    else:
        _heading("An episode at random (there are no scripts)")
    world = load_world({"arena": {"name": name, **arena_options(settings or [], name)}}, name)
    policy = script_of(world, about["best_script"]) if about["scripts"] else Random()
    (episode,) = collect(world, [Plan("example", dict.fromkeys(world.agents, policy), seed)])
    if episode.error:
        raise UserError(f"the example of {name} failed: {episode.error}")
    show(episode.log)
