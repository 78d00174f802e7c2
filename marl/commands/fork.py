"""`marl fork`: change one message of a logged episode and see what follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from marl import conversation
from marl.commands.console import ERR, OUT, STYLES, answer, number
from marl.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from marl.build import Trained
    from marl.intervention import Do
    from protocols.log import Log


def fork(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    episode: Annotated[
        str | None, typer.Option(metavar="ID", help="Which episode of the last evaluation; the first unless given.")
    ] = None,
    at: Annotated[
        int | None, typer.Option(metavar="SEQ", help="Entry of the log to change; the first message unless given.")
    ] = None,
    say: Annotated[
        str | None, typer.Option(metavar="MESSAGE", help='What the listeners hear instead, such as "m1 m2".')
    ] = None,
    drop: Annotated[bool, typer.Option("--drop", help="The listeners hear nothing.")] = False,
    resample: Annotated[
        int, typer.Option(metavar="N", min=0, help="Draw N futures from the changed place on, instead of one greedy.")
    ] = 0,
) -> None:
    """Play a logged episode again up to a message, change what its listeners hear, and let the policies go on.

    Original and fork stand side by side; what differs is marked. Without --say, --drop or --resample the fork
    reproduces the original to the byte, which shows that what differs otherwise is the work of the change.
    """
    from marl import build
    from marl.intervention import Do
    from protocols.log import load

    if say is not None and drop:
        raise UserError("--say and --drop exclude each other: the listeners hear another message, or nothing")
    folder = build.run_dir(run)
    if not folder.eval_log.is_file():
        raise UserError(f"{run} has no log of an evaluation yet")
    log = next((log for log in load(folder.eval_log) if episode in (None, log.episode)), None)
    if log is None:
        raise UserError(f"{folder.eval_log} holds no episode {episode!r}; it has eval-train-0 and so on")
    seq = _place(log, at, change=say is not None or drop)
    do = Do(seq, None if drop else _message(log, seq, say)) if drop or say is not None else None
    with ERR.status("loading the policies"):
        trained = build.trained(run)
    if resample:
        _resampled(trained, log, seq, do, resample)
    else:
        _compared(trained, log, seq, do)


def _place(log: Log, at: int | None, *, change: bool) -> int:
    """Return the entry to change: a message if its words are to change, else any reply."""
    from protocols.envelope import Kind
    from protocols.log import REPLIES

    said = [seq for seq, (envelope, _) in enumerate(log.entries) if envelope.kind is Kind.SAY]
    replies = [seq for seq, (envelope, _) in enumerate(log.entries) if envelope.kind in REPLIES]
    possible = said if change else replies
    if not possible:
        raise UserError(f"nothing is said in episode {log.episode}, so there is no message to change")
    if at is None:
        return (said or replies)[0]
    if at not in possible:
        what = "messages" if change else "replies"
        raise UserError(f"--at {at}: the {what} of {log.episode} are entries {', '.join(map(str, possible))}")
    return at


def _message(log: Log, seq: int, say: str | None) -> str:
    """Return the message to be heard; raises UserError for words the speaker does not have."""
    from arenas.spec import from_wire

    words = (say or "").split()
    asked = log.entries[seq].envelope.reply_to
    if asked is not None:
        spec = from_wire(log.entries[asked].envelope.data["reply"])
        if foreign := [word for word in words if word not in spec.alphabet]:
            speaker = log.entries[seq].envelope.sender
            raise UserError(f"--say: {speaker} has no word {foreign[0]!r}; it {spec.describe()}")
    return " ".join(words)


def _play(trained: Trained, log: Log, seq: int, do: Do | None, salts: Sequence[int]) -> list[Log]:
    from marl import rollout

    plans = [rollout.fork(log, seq, trained.seats, do=do, salt=salt) for salt in salts]
    if any(salts):
        plans = [replace(plan, greedy=False) for plan in plans]
    episodes = rollout.collect(trained.world, plans)
    if failed := [episode for episode in episodes if episode.error]:
        raise UserError(f"the fork of {log.episode} failed: {failed[0].error}")
    return [episode.log for episode in episodes]


def _compared(trained: Trained, log: Log, seq: int, do: Do | None) -> None:
    """Print the original and one fork side by side."""
    (forked,) = _play(trained, log, seq, do, [0])
    OUT.print(_side_by_side(log, forked))
    before, after = conversation.score(log), conversation.score(forked)
    answer(f"score {before:g} -> {after:g}")
    if do is None:
        same = forked.to_bytes() == log.to_bytes()
        answer(
            "nothing was changed, and the fork is the original to the byte"
            if same
            else "nothing was changed, yet the fork differs: the log is not of the newest checkpoint"
        )


def _side_by_side(log: Log, forked: Log) -> Table:
    """Return both as one table; where they agree, the words stand once."""
    from rich.table import Table

    old, new = list(conversation.lines(log)), list(conversation.lines(forked))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("", log.episode, "", "original", "fork"):
        table.add_column(column, overflow="fold")
    keys = [[(line.kind, line.who, line.act.startswith("hears")) for line in side] for side in (old, new)]
    for _, first, last, start, stop in SequenceMatcher(None, keys[0], keys[1], autojunk=False).get_opcodes():
        for before, after in zip_longest(old[first:last], new[start:stop]):
            line = before or after
            assert line is not None
            texts = ["" if side is None else _words(side) for side in (before, after)]
            differs = texts[0] != texts[1]
            table.add_row(
                Text("≠" if differs else "", "bold red"),
                line.who,
                Text(line.act, "dim"),
                Text(texts[0], STYLES.get(line.kind, "bold")),
                Text((texts[1] or "–") if differs else "", "bold red"),
            )
    return table


def _words(line: conversation.Line) -> str:
    return f"{line.text or line.act}  ({line.note})" if line.note else line.text


def _resampled(trained: Trained, log: Log, seq: int, do: Do | None, count: int) -> None:
    """Print what followed in each of several futures."""
    from rich.table import Table

    from protocols.log import REPLIES

    futures = _play(trained, log, seq, do, range(1, count + 1))
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for column in ("future", "replies from there on", "score"):
        table.add_column(column, justify="right" if column == "score" else "left")
    for name, future in [("original", log), *((str(i), future) for i, future in enumerate(futures, 1))]:
        replies = [
            f"{envelope.sender}: {envelope.body}"
            for envelope, _ in future.entries[seq:]
            if envelope.kind in REPLIES and (do is None or envelope.seq > seq)
        ]
        table.add_row(name, ", ".join(replies), number(conversation.score(future)))
    OUT.print(table)
    mean = sum(map(conversation.score, futures)) / count
    answer(f"score {conversation.score(log):g} -> mean of {count} futures {mean:.3f}")
