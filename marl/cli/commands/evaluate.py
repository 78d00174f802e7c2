"""`marl eval`: score the newest checkpoint of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marl.cli.console import ERR, OUT, equilibrium, note, scores
from marl.cli.seats import world_and_run
from marl.errors import UserError

if TYPE_CHECKING:
    from marl.episode import Episode
    from marl.rundir.load import Trained


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, such as runs/lewis.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="Evaluate in a scenario that differs so, such as 'channel=[{type=\"noise\", p=0.1}]'.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    episodes: Annotated[
        int | None,
        typer.Option(
            min=1, help="Most deals of each split; all, or 256 random ones, unless given.", show_default=False
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the episodes; the run's own unless given.")] = None,
    close: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CHANNEL", help="Lose everything said on this channel (may be repeated).", show_default=False
        ),
    ] = None,
    drop: Annotated[float, typer.Option(metavar="P", min=0, max=1, help="Lose each message with probability P.")] = 0,
    shuffle: Annotated[
        bool, typer.Option("--shuffle", help="Replace every message by one from another episode, drawn at random.")
    ] = False,
) -> None:
    """Play the newest checkpoint of a run greedily and compare its score with the anchors (known scores).

    The score of an episode is the mean of its agents' returns. Success is the share of episodes that reach the
    optimum, and the communication gain (score - silent) / (optimum - silent); a dash stands for an unknown value.
    --close, --drop and --shuffle measure what the score owes to messages: they are lost, or carry no information.
    """
    from marl.evaluation.evaluate import summarise
    from marl.rundir import load

    world = world_and_run(str(run), settings)[0] if settings else None
    with ERR.status("loading the policies"):
        trained = load.trained(run, play_in=world)
    altered = (close or [], drop, shuffle)
    played = _play(trained, trained.seed if seed is None else seed, episodes, altered)
    result = summarise(trained.world, played)
    if result["errors"]:
        failed = next(episode for episode in played if episode.error)
        raise UserError(f"{result['errors']} of {len(played)} episodes failed; {failed.log.episode}: {failed.error}")
    unaltered = not (close or drop or shuffle or settings)
    distance = _distance(trained) if unaltered else {}
    if as_json:
        OUT.print_json(json.dumps({"run": str(run), "update": trained.version, **result, **distance}))
        return
    note(f"{run}: {trained.world.arena.name} after {trained.version} updates, {len(played)} greedy episodes")
    closed = dict.fromkeys([*trained.world.scenario.closed, *(close or [])])
    OUT.print(scores(result, ", ".join(_changes(list(closed), drop, shuffle, settings or []))))
    if distance:
        OUT.print(equilibrium(distance))


def _changes(closed: Sequence[str], drop: float, shuffle: bool, settings: Sequence[str]) -> list[str]:
    """Return the words for a run that is evaluated under changes."""
    dropped = [f"dropped with p = {drop:g}"] if drop else []
    return ["this run", *(f"{name} closed" for name in closed), *dropped, *(["shuffled"] if shuffle else []), *settings]


def _distance(trained: Trained) -> dict[str, Any]:
    """Return the exploitability of the policies and of the league average; empty where the game cannot be solved."""
    from marl.evaluation import exploitability
    from marl.rundir import load

    with ERR.status("solving the game"):
        tree = exploitability.solvable(trained.world)
        if tree is None or load.pretrained(trained):  # the tree lacks a chat model's prompts
            return {}
        now = exploitability.played(tree, load.models(trained))
        versions = {version: exploitability.played(tree, models) for version, models in load.frozen(trained)}
        mean = exploitability.average(tree, versions | {trained.version: now}) if versions else None
    shown: dict[str, Any] = {"policy": exploitability.mixtures(tree, now)}
    shown |= {} if mean is None else {"average_policy": exploitability.mixtures(tree, mean)}
    return exploitability.measure(tree, now, mean) | shown


def _play(
    trained: Trained,
    seed: int,
    episodes: int | None,
    altered: tuple[Sequence[str], float, bool],
) -> list[Episode]:
    """Play the evaluation episodes under interventions: channels that are closed, messages dropped or shuffled."""
    from marl.evaluation.evaluate import counter, plans
    from marl.intervention.base import Intervention
    from marl.intervention.message import Close, Drop
    from marl.rollout.collect import collect
    from marl.study.experiments import ablation

    close, drop, shuffle = altered
    do: list[Intervention] = [Close(channel=channel) for channel in close]
    do += [Drop(p=drop)] if drop else []
    planned = [replace(plan, do=tuple(do)) for plan in plans(trained.world, trained.seats, seed, most=episodes)]
    with ERR.status("playing") as status:
        if shuffle:
            return ablation.shuffled(trained.world, planned, seed)
        watch = counter(lambda done, total: status.update(f"playing {done}/{total}"), len(planned))
        return collect(trained.world, planned, done=watch)
