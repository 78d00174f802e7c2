"""`marl report`: write the HTML report of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marl.cli.console import ERR, answer


def report(run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]) -> None:
    """Write RUN/report.html: learning curves, the learned code, its measures, and conversations on one page.

    The page needs no network and no other file. During training it shows the results so far.
    """
    from marl.report.report import write
    from marl.rundir import load

    folder = load.run_dir(run)
    with ERR.status("writing the report"):
        write(folder)
    answer(str(folder.report))
