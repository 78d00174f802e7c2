"""Many episodes at once; an episode again; an episode with one thing changed.

Replay needs no snapshots: the arena is dealt from the episode's own key, and recorded replies are fed back. A fork
feeds them back up to a point and lets the policies go on from there.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from arenas.spec import PUBLIC, from_wire
from marl.agent import Agent
from marl.episode import Episode, Sample
from marl.intervention import Intervention, read
from marl.policy import OVER, Policy, Recorded, Seats
from marl.referee import Referee
from marl.scenario import World
from marl.tools.box import Member
from protocols import topics
from protocols.bus import CAPACITY, MemoryBus
from protocols.clock import ClockName, run
from protocols.envelope import EVERYONE, NO_DATA, NOBODY, Envelope, Kind
from protocols.log import REPLIES, Log

RUN: Final = "local"
YOUNG: Final = 100_000
"""New objects between two collections of garbage while episodes are played; Python's own number is 700."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One episode to be played: what its log's header will say, and who sits where.

    `deal` may name a `case` and a `split` of the arena, and in `like` another episode: it is dealt as that one.
    `answers` of tools stand in the log already: to the call that is entry number so and so.
    """

    episode: str
    seats: Seats
    seed: int
    deal: dict[str, Any] = field(default_factory=dict)
    greedy: bool = False
    do: Sequence[Intervention] = ()
    salt: int = 0
    answers: Mapping[int, str] = field(default_factory=dict)


def header(world: World, plan: Plan) -> Log:
    """Return the log of a planned episode before anything has happened."""
    return Log(
        plan.episode,
        plan.seed,
        world.scenario.wire,
        {seat: policy.name for seat, policy in plan.seats.items()},
        plan.deal,
        plan.greedy,
        [intervention.model_dump(mode="json") for intervention in plan.do],
    )


async def play(world: World, bus: MemoryBus, plan: Plan, run: str = RUN, log: Log | None = None) -> Episode:
    """Play one episode: an agent for each seat, and the referee. `run` keeps forks of one log apart on one bus.

    Who wants to read along gives the `log`, as `header` makes it.
    """
    log = header(world, plan) if log is None else log
    for intervention in plan.do:
        intervention.check(world)
    arena = world.borrow()
    pattern = topics.sent_by(run, plan.episode)
    room = max(CAPACITY, 4 * len(plan.seats))  # all may speak in one instant, and some channels double messages
    inbox = bus.open(pattern, room)
    referee = Referee(world, arena, bus, run, log, plan.do)
    inboxes = {topic: bus.open(topic, room) for topic in (*referee.to.values(), *referee.tools.values())}
    agents = []
    tasks = []
    for seat, policy in plan.seats.items():
        memory = world.scenario.memory.get(seat)
        agent = Agent(
            seat, policy, bus, run, plan.episode, plan.seed, world.scenario.latency, plan.greedy, plan.salt, memory
        )
        agents.append(agent)
        agent.attend(inboxes[referee.to[seat]])
    for tool, topic in referee.tools.items():
        member = Member(world.box, tool, bus, run, plan.episode, plan.answers)
        serving = member.serve(inboxes[topic])
        tasks.append(asyncio.get_running_loop().create_task(serving, name=f"{plan.episode}/{tool}"))
    lost = 0
    try:
        episode = await referee.play(inbox)
    finally:
        for agent in agents:
            agent.leave()  # whoever still thinks
        for task in tasks:
            if not task.done():
                task.cancel()
        bus.shut(pattern, inbox)
        for topic, each in inboxes.items():
            bus.shut(topic, each)
            lost += each.dropped + each.duplicates
        world.give_back(arena)
    return replace(episode, drift=episode.drift + lost) if lost else episode


async def play_all(
    world: World,
    plans: Iterable[Plan],
    concurrency: int = 256,
    done: Callable[[Episode], None] | None = None,
    begun: Callable[[Log], None] | None = None,
) -> list[Episode]:
    """Play episodes, at most `concurrency` at a time, and return them in the order of the plans.

    `begun` gets the log of each as it begins, and can read along; `done` each that is over.
    """
    plans = list(plans)
    queue = iter(enumerate(plans))
    episodes: dict[int, Episode] = {}

    async def worker(bus: MemoryBus) -> None:
        for i, plan in queue:
            log = header(world, plan)
            if begun is not None:
                begun(log)
            episodes[i] = await play(world, bus, plan, f"{RUN}-{i}", log)
            if done is not None:
                done(episodes[i])

    async with MemoryBus() as bus, asyncio.TaskGroup() as group:
        for _ in range(min(concurrency, len(plans))):
            group.create_task(worker(bus))
    return [episodes[i] for i in range(len(plans))]


def collect(
    world: World,
    plans: Iterable[Plan],
    *,
    concurrency: int = 256,
    clock: ClockName = "virtual",
    done: Callable[[Episode], None] | None = None,
    begun: Callable[[Log], None] | None = None,
) -> list[Episode]:
    """Play episodes on a loop of their own. The default clock is virtual: thinking and waiting cost no real time."""
    with rare_collections():
        return run(play_all(world, plans, concurrency, done, begun), clock)


@contextmanager
def rare_collections() -> Iterator[None]:
    """Look for garbage in cycles rarely: what an episode makes lives on in it, and is looked through in vain."""
    young, *older = gc.get_threshold()
    gc.set_threshold(max(young, YOUNG) if young else 0, *older)
    try:
        yield
    finally:
        gc.set_threshold(young, *older)


def _text(log: Log, reply: Envelope) -> str:
    """Return a reply as it was given: where its channel was a choice, its first word was that channel."""
    if reply.kind is Kind.SAY and reply.to != NOBODY and reply.reply_to is not None:
        spec = from_wire(log.entries[reply.reply_to].envelope.data["reply"])
        if len(spec.channels) > 1:
            return spec.text(PUBLIC if reply.to == EVERYONE else reply.to, reply.body)
    return reply.body


def _recorded(log: Log, seat: str, before: int, live: Policy) -> Recorded:
    """Seat the replies given before an entry, and those then being formed: they were asked for before its own."""
    at = log.entries[before].envelope if before < len(log.entries) else None
    asked = at.reply_to if at is not None and at.kind in REPLIES and at.reply_to is not None else 0
    replies = [e for e in log.replies(seat) if e.seq < before or (e.reply_to or before) < asked]
    samples = [
        None
        if reply.data.get("missing")
        else Sample(
            _text(log, reply),
            tuple(reply.data.get("tokens", ())),
            version=reply.data.get("version", 0),
            usage=reply.data.get("usage", NO_DATA),
        )
        for reply in replies
    ]
    return Recorded(samples, live, log.seats[seat])


def replay(
    log: Log, live: Seats | None = None, *, upto: int | None = None, do: Sequence[Intervention] = (), salt: int = 0
) -> Plan:
    """Plan to play a logged episode again: recorded replies before entry `upto` (default: all), live seats after it.

    The interventions of the log act again, and after them those of `do`. With another `salt`, the live part draws other
    numbers. Raises ProtocolError for a log whose interventions cannot be repeated.
    """
    seats = {
        seat: _recorded(log, seat, len(log.entries) if upto is None else upto, (live or {}).get(seat, OVER))
        for seat in log.seats
    }
    answers = {
        each.reply_to: each.body
        for each, _ in log.entries[:upto]
        if each.kind is Kind.RESULT and each.reply_to is not None
    }
    return Plan(log.episode, seats, log.seed, log.deal, log.greedy, (*read(log), *do), salt, answers)


def fork(log: Log, at: int, live: Seats, *, do: Sequence[Intervention] | Intervention = (), salt: int = 0) -> Plan:
    """Plan another future of a logged episode from entry `at` on.

    Without `do` the reply at `at` is drawn anew: the same one with the same salt and weights. With `do` the reply
    stands, and what its listeners hear changes; an intervention that names no entry is for messages from `at` on.
    Raises UserError for an intervention on what is no message of the log, or stands before `at`.
    """
    do = tuple(each.placed(log, at) for each in ((do,) if isinstance(do, Intervention) else do))
    return replay(log, live, upto=at + 1 if do else at, do=do, salt=salt)
