"""`marl play`: print episodes while policies or people play them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marl.cli.console import answer, note, show
from marl.cli.seats import POLICIES, policy_of, world_and_run
from marl.errors import UserError

if TYPE_CHECKING:
    from marl.episode import Episode
    from marl.policy.base import Policy
    from marl.rollout.plan import Plan
    from marl.scenario.world import World
    from protocols.clock import ClockName
    from protocols.log import Log


def play(
    source: Annotated[
        str, typer.Argument(metavar="ARENA_OR_RUN", help="An arena's name or file, a run's folder, a TOML file.")
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Change the scenario, such as n=6.", show_default=False),
    ] = None,
    seat: Annotated[
        list[str] | None,
        typer.Option(metavar="SEAT=POLICY", help=f"Who sits where: {POLICIES}.", show_default=False),
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Number of episodes.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of every draw.")] = 0,
    log: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the episodes to this log (.jsonl or .jsonl.gz).")
    ] = None,
    greedy: Annotated[bool, typer.Option("--greedy", help="Trained policies give their most probable reply.")] = False,
) -> None:
    """Play episodes and print what agents see, say, hear and earn.

    A run's folder is played by its trained policies, an arena by random ones; --seat assigns another policy. A human
    reads what the seat sees and types its replies. openai: is the model of an OpenAI-compatible endpoint, in real
    time; its key is in the environment variable OPENAI_API_KEY, and ?spend=0.5&price_in=...&price_out=... limits costs.

    critique:POLICY lets a chat policy criticise its draft before it replies. reflexion:POLICY lets it write a lesson
    after each episode and read the latest ones in the next. In a run's folder lessons are kept in RUN/lessons.
    """
    from marl.rollout.plan import Plan

    world, run = world_and_run(source, settings or [])
    seats = _seats(world, run, seat or [])
    if log is not None:
        _keep(log, [])  # fail before anyone plays if the file cannot be written

    def shown(episode: Episode) -> None:
        if log is not None:
            _keep(log, [episode.log])
        if episode.error:
            raise UserError(f"episode {episode.log.episode} failed: {episode.error}")

    played = _play(world, [Plan(f"play-{i}", seats, seed, greedy=greedy) for i in range(episodes)], shown)
    if episodes > 1:
        mean = sum(episode.score for episode in played) / episodes
        answer(f"mean score of {episodes} episodes: {mean:.3f}")
    if log is not None:
        note(f"written: {log} (play it again with `marl replay {log}`)")


def _play(world: World, plans: Sequence[Plan], shown: Callable[[Episode], None]) -> list[Episode]:
    """Play episodes and print them: one at a time if a person plays, or a policy that learns between episodes.

    Episodes of slow models are printed while they are played, unless a person plays: the log shows the hidden state.
    """
    from marl.cli.live import Live
    from marl.policy.reflection import Reflexion
    from marl.rollout.collect import collect
    from protocols.clock import run as run_on

    seats = plans[0].seats
    learners = {name: policy for name, policy in seats.items() if isinstance(policy, Reflexion)}
    person = any(policy.name == "human" for policy in seats.values())
    clock: ClockName = "wall" if any("openai:" in policy.name for policy in seats.values()) else "virtual"
    live = Live(shown) if not person and any(map(_slow, seats.values())) else None

    def whole(episode: Episode) -> None:
        show(episode.log)
        shown(episode)

    if live is None and not person:
        played = collect(world, plans, clock=clock)
        for episode in played:
            whole(episode)
        return played

    def done(episode: Episode) -> None:
        (whole if live is None else live.end)(episode)
        for name, policy in learners.items():
            policy.learn(name, episode)

    at_once = 1 if person or learners else 256
    begun = None if live is None else live.begin
    played = collect(world, plans, concurrency=at_once, clock=clock, done=done, begun=begun)
    for policy in learners.values():
        run_on(policy.reflect(), clock)
    return played


def _slow(policy: Policy) -> bool:
    """Whether a policy takes seconds to reply: a chat model, local or at an endpoint."""
    return "openai:" in policy.name or "hf:" in policy.name or hasattr(policy, "engine")


def _keep(path: Path, logs: Sequence[Log]) -> None:
    """Append to the log file; without logs, create it empty."""
    from protocols.log import save

    try:
        save(path, logs, append=bool(logs))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None


def _seats(world: World, run: Path | None, wanted: Sequence[str]) -> dict[str, Policy]:
    """Return the policy of each seat: as --seat says, else the run's, else random."""
    chosen = dict.fromkeys(world.agents, "random" if run is None else "trained")
    for text in wanted:
        name, equals, policy = text.partition("=")
        if not equals:
            raise UserError(f"--seat looks like {world.agents[0]}=human, not {text!r}")
        if name not in chosen:
            raise UserError(f"--seat {text}: no seat {name!r}; the seats are {', '.join(world.agents)}")
        if sum(other.partition("=")[0] == name for other in wanted) > 1:
            raise UserError(f"--seat {text}: {name} is given twice: give each seat once")
        chosen[name] = policy
    loaded: dict[Path, dict[str, Policy]] = {}
    return {name: policy_of(name, policy, world, run, loaded) for name, policy in chosen.items()}
