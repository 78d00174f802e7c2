"""Terminal output: answers go to stdout, progress and remarks to stderr."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from marl.evaluation import log_lines
from marl.evaluation.evaluate import splits
from protocols.envelope import Kind
from protocols.log import Log

OUT: Final = Console(highlight=False, markup=False, emoji=False)
ERR: Final = Console(stderr=True, highlight=False, markup=False, emoji=False)
STYLES: Final = {
    Kind.SAY: "bold cyan",
    Kind.MOVE: "bold green",
    Kind.CALL: "magenta",
    Kind.RESULT: "magenta",
    Kind.WORLD: "dim",
    Kind.VIEW: "",
}
ANCHORS: Final = {
    "random": "random replies",
    "silent": "best without talk",
    "equilibrium": "equilibrium",
    "full": "optimum",
}


def answer(text: str = "", style: str = "") -> None:
    """Print a line of the answer, never broken."""
    OUT.print(text, style=style, soft_wrap=True)


def note(text: str, style: str = "") -> None:
    """Print a remark to stderr."""
    ERR.print(text, style=style, soft_wrap=True)


def number(value: float | None, digits: int = 3) -> str:
    """Format a number; a dash for None."""
    return "–" if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """Format a share as a percentage; a dash for None."""
    return "–" if value is None else f"{100 * value:.0f} %"


def show(log: Log) -> None:
    """Print an episode."""
    OUT.print(heading(log), soft_wrap=True)
    for text in LogPrinter(log).new():
        OUT.print(text, soft_wrap=True)
    OUT.print()


def heading(log: Log) -> Text:
    """Return the line above an episode: which, and who sat where."""
    same = all(policy == seat for seat, policy in log.seats.items())
    seats = "" if same else "  " + ", ".join(f"{seat} = {policy}" for seat, policy in log.seats.items())
    return Text.assemble(("episode ", "bold"), (log.episode, "bold"), (seats, "dim"))


class LogPrinter:
    """An episode as lines in columns: who, what, the words. Read while it is played, columns grow where they must."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self._read = 0
        self._who = self._act = 0

    def new(self) -> Iterable[Text]:
        """Yield the lines of log entries added since the last call."""
        lines = list(log_lines.lines(self.log, self._read))
        self._read = len(self.log.entries)
        self._who = max(self._who, *(len(line.who) for line in lines), 0)
        self._act = max(self._act, *(len(line.act) for line in lines), 0)
        for line in lines:
            style = STYLES.get(line.kind, "bold")
            remark = f"  ({line.note})" if line.note else ""
            yield Text.assemble(
                f"  {line.who:<{self._who}}  ",
                (f"{line.act:<{self._act}}  ", "dim"),
                (line.text, style),
                (remark, "yellow"),
            )


def scores(result: Mapping[str, Any], who: str) -> Group:
    """Return an evaluation among the anchors, lowest score first, and each seat's return where they differ."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for column in ("", "score", "success", "communication gain"):
        table.add_column(column, justify="left" if not column else "right")
    rows: list[tuple[float, int, list[str], str]] = []
    for place, (name, label) in enumerate(ANCHORS.items()):
        anchor = result["anchors"].get(name)
        if anchor is not None:
            rows.append((anchor, place, [label, number(anchor), "", ""], "dim"))
    for split, figures in splits(result).items():
        error = figures["standard_error"]
        score = number(figures["score"]) + (f" ± {error:.3f}" if error else "")
        cells = [score, percent(figures["success"]), number(figures["communication_gain"], 2)]
        label = who if split == "train" else f"{who}, {split.replace('_', ' ')} deals"
        rows.append((figures["score"], len(ANCHORS), [label, *cells], "bold"))
    for _, _, cells, style in sorted(rows, key=lambda row: row[:2]):
        table.add_row(*cells, style=style)
    returns: Mapping[str, float] = next(iter(splits(result).values()))["returns"]
    if max(returns.values()) - min(returns.values()) < 1e-9:
        return Group(table)
    pay = ", ".join(f"{seat} {number(value)}" for seat, value in returns.items())
    return Group(table, Text(f"each seat's return: {pay}", style="dim"))


def equilibrium(summary: Mapping[str, Any]) -> Group:
    """Return how far policies are from an equilibrium, and in small games how they mix their replies."""
    mean = summary.get("exploitability_average")
    line = f"exploitability {summary['exploitability']:.4f}" + ("" if mean is None else f", of the average {mean:.4f}")
    if not summary.get("policy"):
        return Group(Text(line))
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for column in ("seat", "knows", "replies with", *(() if mean is None else ("on average",))):
        table.add_column(column)
    rows = [summary["policy"], *([] if mean is None else [summary["average_policy"]])]
    for sets in zip(*rows, strict=True):
        mixed = [", ".join(f"{reply} {p:.3f}" for reply, p in entry["chances"].items()) for entry in sets]
        table.add_row(sets[0]["seat"], sets[0]["seen"], *mixed)
    return Group(Text(line), table)


def standing(league: Mapping[str, Any]) -> Text:
    """Return the rating of the policies in training, and how it stands to that of the best frozen version."""
    best = max(league["members"], key=lambda member: member["mean"])
    own, other = (f"{rating['mean']:.1f} ± {rating['deviation']:.1f}" for rating in (league, best))
    return Text(f"rating {own}; the best of {len(league['members'])} frozen versions, {best['version']}: {other}")
