"""`marl host`: play episodes with agents in other processes, over a broker."""

from __future__ import annotations

import json
import re
import secrets
import shlex
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marl.cli.commands.remote.tokens import TOKEN
from marl.cli.console import ERR, answer, note, show
from marl.cli.seats import policy_of, world_and_run
from marl.errors import UserError

if TYPE_CHECKING:
    from marl.episode import Episode
    from marl.policy.base import Policy
    from marl.remote.journal import Journal
    from marl.scenario.world import World
    from protocols.log import Log


def host(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="The broker: mqtt://, mqtts://; or memory://, for a trial.")
    ],
    source: Annotated[
        str, typer.Argument(metavar="ARENA_OR_RUN", help="An arena's name or file, a run's folder, a TOML file.")
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Change the scenario, such as n=6.", show_default=False),
    ] = None,
    run: Annotated[str, typer.Option(help="Name under which agents find this host.")] = "game",
    seat: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SEAT=POLICY",
            help="Fill a seat here: random, scripted:NAME, trained:RUN.",
            show_default=False,
        ),
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Number of episodes.")] = 1,
    at_once: Annotated[int, typer.Option(min=1, help="Episodes played at the same time.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of every draw.")] = 0,
    greedy: Annotated[bool, typer.Option("--greedy", help="Trained policies give their most probable reply.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the episodes.", show_default="hosted/RUN")] = None,
    patience: Annotated[float, typer.Option(min=0.1, help="Seconds that a seat has to reply.")] = 60.0,
    wait: Annotated[float, typer.Option(min=0.0, help="Seconds to wait for all seats to be taken.")] = 300.0,
    open_seats: Annotated[bool, typer.Option("--open", help="Let anyone take a free seat, without a token.")] = False,
) -> None:
    """Play episodes over a broker with remote agents: other processes, other machines, people.

    Seats that are not filled here wait for `marl agent` or `marl join`, with the token that is printed for each.
    Episodes are written to a log and every reply to a journal, so a host that was stopped or killed resumes when it is
    started again with the same command.
    """
    from marl.rollout.collect import collect
    from marl.rollout.plan import Plan

    world, folder = world_and_run(source, settings or [])
    here = _local_seats(world, folder, seat or [])
    away = _remote_seats(world, here)
    plans = [Plan(f"{run}-{i}", here, seed, greedy=greedy) for i in range(episodes)]
    if url.partition(":")[0] == "memory":
        from marl.policy.scripted import Random

        everyone = {name: here.get(name, Random()) for name in world.agents}
        for episode in collect(world, [Plan(p.episode, everyone, seed, greedy=greedy) for p in plans]):
            show(episode.log)
        return
    if not away:
        raise UserError("every seat is filled here, so there is nobody to wait for: use marl play")
    kept = HostedFolder(out or Path("hosted") / run, world, plans, open_seats)
    try:
        _play(world, kept, here, away, url=url, run=run, patience=patience, wait=wait, at_once=at_once)
    except KeyboardInterrupt:
        note(f"stopped after {kept.done} episodes; resume with: {shlex.join(['marl', *map(_shown, sys.argv[1:])])}")
        raise typer.Exit(130) from None


def _shown(word: str) -> str:
    """Return a word of the command line without the password of a URL."""
    return re.sub(r"(mqtts?://[^:/@]*):[^@]*@", r"\1:***@", word)


class HostedFolder:
    """The folder of a hosted run: tokens, journal of replies, finished episodes, rejected envelopes."""

    def __init__(self, path: Path, world: World, plans: list[Any], open_seats: bool) -> None:
        from marl.remote.rejections import Rejections

        self.path, self.plans, self.done = path, plans, 0
        path.mkdir(parents=True, exist_ok=True)
        self.episodes = path / "episodes.jsonl"
        self.journal: Journal | None = None
        self.scores: list[float] = []
        first = plans[0]
        self.header = {
            "scenario": world.scenario.wire,
            "run": first.episode,
            "seed": first.seed,
            "greedy": first.greedy,
        }
        if len(_finished_episodes(self.episodes)) >= len(plans):
            raise UserError(
                f"{path} holds all {len(plans)} episodes: choose another --run or --out, or more --episodes"
            )
        self.tokens = None if open_seats else self._tokens(world.agents)
        self.rejections = Rejections(path / "refused.jsonl", (self.tokens or {}).values())

    def _tokens(self, seats: tuple[str, ...]) -> dict[str, str]:
        """Return the tokens of the seats, the same ones when the host is started again."""
        path = self.path / "tokens.json"
        if path.is_file():
            try:
                saved = json.loads(path.read_text())
                return {seat: str(saved[seat]) for seat in seats}
            except (ValueError, KeyError, TypeError):
                raise UserError(f"{path} does not hold a token for every seat: remove it") from None
        tokens = {seat: secrets.token_urlsafe(9) for seat in seats}
        path.touch(mode=0o600)
        path.chmod(0o600)
        path.write_text(json.dumps(tokens, indent=2) + "\n")
        return tokens

    def begin(self, names: Mapping[str, str]) -> list[Any]:
        """Open the journal and return the plans of unfinished episodes."""
        from marl.remote.journal import Journal
        from protocols import log

        self.journal = Journal(self.path / "journal.jsonl", self.header, names)
        whole = _finished_episodes(self.episodes)
        part = self.episodes.with_name("part-episodes.jsonl")
        log.save(part, whole)
        part.replace(self.episodes)
        there = {finished.episode for finished in whole}
        if there:
            note(f"{self.path}: {len(there)} episodes are finished already")
        return [plan for plan in self.plans if plan.episode not in there]

    def write_reply(self, episode: str, seat: str, sample: Any) -> None:
        """Append a reply to the journal."""
        assert self.journal is not None
        self.journal.add(episode, seat, sample)

    def finish(self, episode: Episode) -> None:
        """Append a finished episode to the log."""
        from protocols import log

        log.save(self.episodes, [episode.log], append=True)
        self.done += 1
        self.scores.append(episode.score)


def _finished_episodes(path: Path) -> list[Log]:
    """Return the finished episodes of a log file; those a killed host left unfinished are played again."""
    from protocols import ProtocolError, log

    whole: list[Log] = []
    if path.is_file() and path.stat().st_size:
        with suppress(ProtocolError):  # cut off in the middle of its last line
            whole.extend(episode for episode in log.load(path) if episode.entries and _ended(episode))
    return whole


def _ended(log: Log) -> bool:
    return log.entries[-1].envelope.kind == "end"


def _remote_seats(world: World, here: Mapping[str, Policy]) -> list[str]:
    """Return the seats of remote agents; raises UserError for one with a memory."""
    away = [name for name in world.agents if name not in here]
    for name in away:
        if name in world.scenario.memory:
            raise UserError(
                f"{name} is a remote seat, which has no memory settings: remove memory.{name}, or fill it here"
            )
    return away


def _local_seats(world: World, run: Path | None, wanted: list[str]) -> dict[str, Policy]:
    here: dict[str, Policy] = {}
    loaded: dict[Path, dict[str, Policy]] = {}
    for text in wanted:
        name, equals, policy = text.partition("=")
        if not equals or name not in world.agents or policy == "human":
            raise UserError(
                f"--seat {text}: write SEAT=random or SEAT=trained:RUN, with a seat out of {', '.join(world.agents)}; "
                "people take theirs with marl join"
            )
        if name in here:
            raise UserError(f"--seat {text}: {name} is filled twice: give each seat once")
        here[name] = policy_of(name, policy, world, run, loaded)
    return here


def _play(
    world: World,
    kept: HostedFolder,
    here: Mapping[str, Policy],
    away: list[str],
    *,
    url: str,
    run: str,
    patience: float,
    wait: float,
    at_once: int,
) -> None:
    from dataclasses import replace

    from marl.remote.host import Host
    from marl.rollout.collect import collect

    tokens = kept.tokens
    about = {"arena": world.arena.name, "seats": away}
    with Host(
        url,
        run,
        away,
        tokens=tokens,
        patience=patience,
        rejections=kept.rejections,
        journal=kept.write_reply,
        about=about,
    ) as hosting:
        for name in away:
            shown = hosting.address.shown + (f" --token {tokens[name]}" if tokens else "")
            note(f"marl join {shown} --run {run} --seat {name}", "bold")
        if tokens:
            where = kept.path / "tokens.json"
            note(
                f"others on a machine see its command lines: --token-file {where}, or {TOKEN} in the environment, "
                "hides a token"
            )
        with ERR.status(f"waiting for {', '.join(away)} (marl join, or marl agent with the same arguments)"):
            hosting.ready(wait)
        seats = {name: {**here, **hosting.seats()}[name] for name in world.agents}
        plans = kept.begin({name: policy.name for name, policy in seats.items()})
        assert kept.journal is not None
        plans = [replace(plan, seats=kept.journal.seats(plan.episode, seats)) for plan in plans]

        def done(episode: Episode) -> None:
            hosting.check()  # an episode that the broker ended is played again, when the host is started again
            kept.finish(episode)
            show(episode.log)
            if episode.error:
                note(f"episode {episode.log.episode} ended early: {episode.error}")

        collect(world, plans, concurrency=at_once, done=done, keep=False)
        kept.journal.close()
    if kept.scores:
        answer(f"mean score of {len(kept.scores)} episodes: {sum(kept.scores) / len(kept.scores):.3f}")
    note(
        f"written: {kept.episodes}; rejected envelopes: {kept.rejections}; missed deadlines: {hosting.protocol.missed}"
    )
