"""`marl replay`: replay logged episodes from the log alone, or verify them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marl.cli.console import ERR, answer, show
from marl.errors import UserError

if TYPE_CHECKING:
    from marl.scenario.world import World
    from protocols.log import Log

CHUNK = 256


def replay(
    source: Annotated[Path, typer.Argument(metavar="RUN_OR_LOG", help="A run's folder, or a log file.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Only check that every episode replays byte for byte.")
    ] = False,
    episode: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Only this episode (may be repeated).", show_default=False)
    ] = None,
    arena: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The arena file, for a log of an arena that is defined in one.", show_default=False
        ),
    ] = None,
) -> None:
    """Replay logged episodes from the log alone and print them, or verify that they are identical.

    The world is rebuilt from the scenario in the log, the deal from the episode's own seed, and the recorded replies
    are fed back. With --verify a run's training log is checked too; the exit code is 0 if all episodes are identical,
    1 if not.

    A log cannot make code run: if its arena is defined in a file, name the file with --arena. A run's folder knows its
    own.
    """
    if source.is_dir():
        from marl.rundir import load

        load.scene(load.run_dir(source))
    files = _files(source, training=verify)
    if verify:
        differing = [path for path in files if not _verify(path, episode, arena)]
        if differing:
            raise typer.Exit(1)
        return
    for path in files:
        for _, again in _replay(path, episode, arena):
            show(again)


def _files(source: Path, *, training: bool) -> list[Path]:
    from marl.rundir import load

    if not source.is_dir():
        if not source.exists():
            raise UserError(f"{source} does not exist: give a run's folder or a log file")
        return [source]
    folder = load.run_dir(source)
    files = [path for path in (folder.train_log, folder.eval_log) if path.is_file()]
    files = files if training else [path for path in files if path == folder.eval_log]
    if not files:
        raise UserError(f"{source} holds no log yet")
    return files


def _verify(path: Path, wanted: Iterable[str] | None, arena: Path | None) -> bool:
    """Compare every episode of a file with its replay and print the result; return whether all are identical."""
    count = same = 0
    first = ""
    with ERR.status(f"replaying {path}") as status:
        for logged, again in _replay(path, wanted, arena):
            count += 1
            if logged.to_bytes() == again.to_bytes():
                same += 1
            elif not first:
                first = _difference(logged, again)
            if count % CHUNK == 0:
                status.update(f"replaying {path}: {count} episodes")
    answer(f"{path}: {same} of {count} episodes identical")
    if first:
        answer(first)
    return same == count


def _difference(logged: Log, again: Log) -> str:
    """Return which line of an episode differs first."""
    pairs = zip_longest(logged.to_bytes().splitlines(), again.to_bytes().splitlines(), fillvalue=b"(nothing)")
    for number, (old, new) in enumerate(pairs):
        if old != new:
            where = "its header" if number == 0 else f"entry {number - 1}"
            return (
                f"the first to differ is {logged.episode}, {where}:\n"
                f"  logged:   {old.decode()}\n  replayed: {new.decode()}"
            )
    return ""


def _replay(path: Path, wanted: Iterable[str] | None, arena: Path | None) -> Iterator[tuple[Log, Log]]:
    """Yield each logged episode with its replay, a few at a time so that long logs need little memory."""
    from marl.rollout.collect import collect
    from marl.rollout.replay import replay as plan
    from protocols.clock import DeadlockError
    from protocols.log import load

    names = set(wanted or ())
    logs = (log for log in load(path) if not names or log.episode in names)
    worlds: dict[str, World] = {}
    replayed: set[str] = set()
    while chunk := list(islice(logs, CHUNK)):
        for world, group in _by_world(chunk, path, worlds, arena):
            try:
                episodes = collect(world, [plan(log) for log in group])
            except DeadlockError:
                raise UserError(f"{path}: an episode never ends: the log was changed or truncated") from None
            yield from zip(group, (episode.log for episode in episodes), strict=True)
        replayed |= {log.episode for log in chunk}
    if missing := sorted(names - replayed):
        raise UserError(f"{path} holds no episode {missing[0]!r}")
    if not replayed:
        raise UserError(f"{path} holds no episode")


def _by_world(
    logs: Iterable[Log], path: Path, worlds: dict[str, World], arena: Path | None
) -> Iterator[tuple[World, list[Log]]]:
    """Group neighbouring logs of one scenario; each world is built once."""
    from marl.scenario import arena_file
    from marl.scenario.world import load_world

    group: list[Log] = []
    before = ""
    for log in logs:
        key = json.dumps(log.scenario, sort_keys=True)
        if key not in worlds:
            called = log.scenario.get("arena")
            if arena is not None and isinstance(called, dict) and arena_file.is_file(called.get("name")):
                arena_file.stand_in(called["name"], arena)
            worlds[key] = load_world(log.scenario, f"the scenario in {path}", sealed=True)
        if set(log.seats) != set(worlds[key].agents):
            raise UserError(
                f"{path}: episode {log.episode} has the seats {', '.join(log.seats)}; "
                f"its arena has {', '.join(worlds[key].agents)}"
            )
        if group and key != before:
            yield worlds[before], group
            group = []
        group.append(log)
        before = key
    if group:
        yield worlds[before], group
