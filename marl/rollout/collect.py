"""Many episodes at once; an episode again; an episode with one thing changed.

Replay needs no snapshots: the arena is dealt from the episode's own key, and recorded replies are fed back. A fork
feeds them back up to a point and lets the policies go on from there.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from marl.episode import Episode
from marl.rollout.agent import Agent
from marl.rollout.plan import Plan, header
from marl.rollout.referee import Referee
from marl.scenario.world import World
from marl.tools.toolbox import Member
from protocols import topics
from protocols.bus import CAPACITY, MemoryBus
from protocols.clock import ClockName, run
from protocols.log import Log

RUN: Final = "local"
YOUNG: Final = 100_000
"""New objects between two collections of garbage while episodes are played; Python's own number is 700."""


async def play(world: World, bus: MemoryBus, plan: Plan, run: str = RUN, log: Log | None = None) -> Episode:
    """Play one episode: an agent for each seat, and the referee. `run` keeps forks of one log apart on one bus.

    Who wants to read along gives the `log`, as `header` makes it.
    """
    log = header(world, plan) if log is None else log
    for intervention in plan.do:
        intervention.check(world)
    arena = world.acquire()
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
        world.release(arena)
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
