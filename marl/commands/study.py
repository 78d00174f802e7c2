"""`marl study`: what the messages of runs mean, and what they do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marl.commands.console import ERR, OUT, note


def study(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders of runs, log files, or files of messages (.jsonl, .csv)."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole study as JSON.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of permutations and bootstraps.")] = 0,
    permutations: Annotated[int, typer.Option(min=1, help="Shuffles behind each null distribution.")] = 200,
) -> None:
    """Measure the languages of runs: what messages tell, how they are built, and what they do.

    Writes study.html, a page that needs no network, and study.json into the folder of each run. Several runs of one
    scenario are also played with each other.
    """
    from marl.study import together
    from marl.study.study import study as examined

    with ERR.status("measuring"):
        found = examined(runs, seed=seed, permutations=permutations)
        found = together.complete(found, runs)
        pages = together.write(found, runs)
    for page in pages:
        note(f"study: {page}")
    for run, each in zip(runs, found.runs, strict=True):
        for remark in each.remarks:
            note(f"{run}: {remark}")
    if as_json:
        OUT.print_json(found.model_dump_json())
