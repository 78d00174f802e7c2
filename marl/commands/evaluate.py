"""`marl eval`: how well a run plays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from marl.commands.console import ERR, OUT, note, scores
from marl.errors import UserError


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, such as runs/lewis.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    episodes: Annotated[
        int, typer.Option(min=1, help="Episodes for an arena whose deals cannot be counted; otherwise each deal once.")
    ] = 256,
    seed: Annotated[int | None, typer.Option(help="Seed of the episodes; the run's own unless given.")] = None,
) -> None:
    """Play the newest checkpoint of a run, every reply the most probable one, and compare its score with the anchors.

    The score of an episode is the mean of its agents' returns. Success is the share of episodes that reach the
    optimum, and the communication gain (score - silent) / (optimum - silent).
    """
    from marl import build
    from marl.evaluate import run as play
    from marl.evaluate import summarise

    with ERR.status("loading the policies"):
        trained = build.trained(run)
    with ERR.status("playing"):
        played = play(trained.world, trained.seats, trained.seed if seed is None else seed, episodes)
    result = summarise(trained.world, played)
    if result["errors"]:
        failed = next(episode for episode in played if episode.error)
        raise UserError(f"{result['errors']} of {len(played)} episodes failed; {failed.log.episode}: {failed.error}")
    if as_json:
        OUT.print_json(json.dumps({"run": str(run), "update": trained.version, **result}))
        return
    arena = trained.world.arena.name
    note(f"{run}: {arena} after {trained.version} updates, {len(played)} greedy episodes")
    OUT.print(scores(result, "this run"))
