"""`marl fork`: change one message of a logged episode and compare what follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from marl.cli.console import ERR, OUT, STYLES, answer, number
from marl.errors import UserError
from marl.evaluation import log_lines

if TYPE_CHECKING:
    from rich.table import Table

    from marl.intervention.base import Intervention
    from marl.rundir.load import Trained
    from protocols.log import Log


def fork(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    episode: Annotated[
        str | None, typer.Option(metavar="ID", help="Episode of the last evaluation; by default the first.")
    ] = None,
    at: Annotated[
        int | None, typer.Option(metavar="SEQ", help="Log entry to change; by default the first message.")
    ] = None,
    say: Annotated[
        str | None, typer.Option(metavar="MESSAGE", help='What the listeners hear instead, such as "m1 m2".')
    ] = None,
    drop: Annotated[bool, typer.Option("--drop", help="The listeners hear nothing.")] = False,
    seat: Annotated[
        str | None, typer.Option("--as", metavar="SEAT", help="The listeners believe the message comes from this seat.")
    ] = None,
    inject: Annotated[
        str | None, typer.Option(metavar="MESSAGE", help="The listeners also hear this just before --at; needs --as.")
    ] = None,
    close: Annotated[
        str | None, typer.Option(metavar="CHANNEL", help="Lose everything said on this channel from --at on.")
    ] = None,
    resample: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Sample N futures from the changed entry on, instead of one greedy one."),
    ] = 0,
) -> None:
    """Play a logged episode again up to a message, change what its listeners hear, and let the policies go on.

    Original and fork stand side by side; differences are marked. Without a change the fork is
    identical to the original byte for byte, so every difference is an effect of the change.
    """
    from marl.rundir import load
    from protocols.log import load as load_logs

    _compatible(say, drop, seat, inject, close)
    folder = load.run_dir(run)
    if not folder.eval_log.is_file():
        raise UserError(f"{run} has no log of an evaluation yet")
    log = next((log for log in load_logs(folder.eval_log) if episode in (None, log.episode)), None)
    if log is None:
        raise UserError(f"{folder.eval_log} holds no episode {episode!r}; it has eval-train-0 and so on")
    kind = "entries" if inject is not None else "messages" if drop or (say, seat) != (None, None) else "replies"
    seq = _place(log, at, kind)
    do = _change(log, seq, say, drop, seat, inject, close)
    with ERR.status("loading the policies"):
        trained = load.trained(run)
    if resample:
        _resampled(trained, log, seq, do, resample)
    else:
        _compared(trained, log, seq, do)


def _compatible(say: str | None, drop: bool, seat: str | None, inject: str | None, close: str | None) -> None:
    """Raise UserError for options that exclude each other."""
    if say is not None and drop:
        raise UserError("--say and --drop exclude each other: the listeners hear another message, or nothing")
    if inject is not None and (say is not None or drop):
        raise UserError("--inject goes with neither --say nor --drop: the message that was said stays as it is")
    if inject is not None and seat is None:
        raise UserError("--inject needs --as SEAT: whose message it seems to be")


def _place(log: Log, at: int | None, kind: str) -> int:
    """Return the entry to change: a message, any reply; or, to come before it, a reply or the view it answers."""
    from protocols.envelope import Kind
    from protocols.log import REPLIES

    said = [envelope.seq for envelope in log.replies() if envelope.kind is Kind.SAY]
    replies = [envelope.seq for envelope in log.replies()]
    asked = [seq for seq, (envelope, _) in enumerate(log.entries) if envelope.kind in (*REPLIES, Kind.VIEW)]
    possible = {"messages": said, "replies": replies, "entries": asked}[kind]
    if not possible:
        raise UserError(f"nothing is said in episode {log.episode}, so there is no message to change")
    if at is None and kind == "entries":  # whoever is asked after the first message hears this one as well
        return next((seq for seq in asked if seq not in replies and seq > (said or [-1])[0]), asked[0])
    if at is None:
        return (said or replies)[0]
    if at not in possible:
        what = "views and replies" if kind == "entries" else kind
        raise UserError(f"--at {at}: the {what} of {log.episode} are entries {', '.join(map(str, possible))}")
    return at


def _change(
    log: Log, seq: int, say: str | None, drop: bool, seat: str | None, inject: str | None, close: str | None
) -> list[Intervention]:
    """Return the interventions that the options ask for."""
    from marl.intervention.inject import Inject
    from marl.intervention.message import Close, Drop, Replace, Swap

    do: list[Intervention] = []
    if drop:
        do.append(Drop(seq=seq))
    if say is not None:
        do.append(Replace(seq=seq, body=_message(log, seq, say)))
    if inject is not None and seat is not None:
        do.append(Inject(seq=seq, sender=seat, body=" ".join(inject.split())))
    elif seat is not None:
        do.append(Swap(seq=seq, seat=seat))
    if close is not None:
        do.append(Close(channel=close))
    return do


def _message(log: Log, seq: int, say: str) -> str:
    """Return the message to be heard; raises UserError for words the speaker does not have."""
    from arenas.spec import from_wire

    words = say.split()
    asked = log.entries[seq].envelope.reply_to
    if asked is not None:
        spec = from_wire(log.entries[asked].envelope.data["reply"])
        speaker = log.entries[seq].envelope.sender
        if spec.free:
            if len(say) > spec.free or not say.isprintable() or not spec.formed(say):
                raise UserError(f"--say: {speaker} {spec.describe()}, in one line")
        elif foreign := [word for word in words if word not in spec.alphabet]:
            raise UserError(f"--say: {speaker} has no word {foreign[0]!r}; it {spec.describe()}")
    return " ".join(words)


def _play(trained: Trained, log: Log, seq: int, do: Sequence[Intervention], salts: Sequence[int]) -> list[Log]:
    from marl.rollout import collect
    from marl.rollout import fork as fork_log

    plans = [fork_log(log, seq, trained.seats, do=do, salt=salt) for salt in salts]
    if any(salts):
        plans = [replace(plan, greedy=False) for plan in plans]
    episodes = collect(trained.world, plans)
    if failed := [episode for episode in episodes if episode.error]:
        raise UserError(f"the fork of {log.episode} failed: {failed[0].error}")
    return [episode.log for episode in episodes]


def _compared(trained: Trained, log: Log, seq: int, do: Sequence[Intervention]) -> None:
    """Print the original and one fork side by side."""
    (forked,) = _play(trained, log, seq, do, [0])
    OUT.print(_side_by_side(log, forked))
    before, after = log_lines.score(log), log_lines.score(forked)
    answer(f"score {before:g} -> {after:g}")
    if not do:
        same = forked.to_bytes() == log.to_bytes()
        answer(
            "nothing was changed, and the fork is identical to the original byte for byte"
            if same
            else "nothing was changed, yet the fork differs: the log is not of the newest checkpoint"
        )


def _side_by_side(log: Log, forked: Log) -> Table:
    """Return both as one table; where they agree, the words stand once."""
    from rich.table import Table

    old, new = list(log_lines.lines(log)), list(log_lines.lines(forked))
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


def _words(line: log_lines.LogLine) -> str:
    return f"{line.text or line.act}  ({line.note})" if line.note else line.text


def _resampled(trained: Trained, log: Log, seq: int, do: Sequence[Intervention], count: int) -> None:
    """Print what followed in each of several futures."""
    from rich.table import Table

    futures = _play(trained, log, seq, do, range(1, count + 1))
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for column in ("future", "replies from there on", "score"):
        table.add_column(column, justify="right" if column == "score" else "left")
    for name, future in [("original", log), *((str(i), future) for i, future in enumerate(futures, 1))]:
        replies = [
            f"{envelope.sender}: {envelope.body}"
            for envelope in future.replies()
            if envelope.seq >= seq and (not do or envelope.seq > seq)
        ]
        table.add_row(name, ", ".join(replies), number(log_lines.score(future)))
    OUT.print(table)
    mean = sum(map(log_lines.score, futures)) / count
    answer(f"score {log_lines.score(log):g} -> mean of {count} futures {mean:.3f}")
