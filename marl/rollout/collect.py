"""Collect episodes: play one, or many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from marl.episode import Episode
from marl.rollout.agent import Agent
from marl.rollout.gc_threshold import raised_gc_threshold
from marl.rollout.plan import Plan, header
from marl.rollout.referee import Referee
from marl.scenario.world import World
from marl.tools.toolbox import ToolMember
from protocols import topics
from protocols.bus import CAPACITY, MemoryBus
from protocols.clock import ClockName, run
from protocols.log import Log

RUN: Final = "local"


async def play(world: World, bus: MemoryBus, plan: Plan, run: str = RUN, log: Log | None = None) -> Episode:
    """Play one episode: an agent for each seat, the tools, and the referee.

    Args:
        world: of the episode.
        bus: in memory; episodes may share it.
        plan: the episode.
        run: level of the topics that keeps forks of one log apart on one bus.
        log: an empty log, as `header` makes it, for a caller that reads along.
    """
    log = header(world, plan) if log is None else log
    for intervention in plan.do:
        intervention.check(world)
    arena = world.acquire()
    replies = topics.sent_by(run, plan.episode)
    capacity = max(CAPACITY, 4 * len(plan.seats))  # all may speak in one instant, and some channels double messages
    inbox = bus.open(replies, capacity)
    referee = Referee(world, arena, bus, run, log, plan.do)
    agent_topics, tool_topics = referee.exchange.agent_topics, referee.exchange.tool_topics
    inboxes = {topic: bus.open(topic, capacity) for topic in (*agent_topics.values(), *tool_topics.values())}
    agents = []
    for seat in plan.seats:
        agent = _agent(world, bus, plan, run, seat)
        agents.append(agent)
        agent.attend(inboxes[agent_topics[seat]])
    tools = []
    for tool, topic in tool_topics.items():
        member = ToolMember(world.box, tool, bus, run, plan.episode, plan.answers)
        serving = member.serve(inboxes[topic])
        tools.append(asyncio.get_running_loop().create_task(serving, name=f"{plan.episode}/{tool}"))
    lost = 0
    try:
        episode = await referee.play(inbox)
    finally:
        for agent in agents:
            agent.leave()  # some may still wait for their policies
        for task in tools:
            task.cancel()
        bus.shut(replies, inbox)
        for topic, subscription in inboxes.items():
            bus.shut(topic, subscription)
            lost += subscription.dropped + subscription.duplicates
        world.release(arena)
    return replace(episode, drift=episode.drift + lost) if lost else episode


def _agent(world: World, bus: MemoryBus, plan: Plan, run: str, seat: str) -> Agent:
    scenario, policy = world.scenario, plan.seats[seat]
    return Agent(
        seat,
        policy,
        bus,
        run,
        plan.episode,
        plan.seed,
        scenario.latency,
        plan.greedy,
        plan.salt,
        scenario.memory.get(seat),
    )


async def play_all(
    world: World,
    plans: Iterable[Plan],
    concurrency: int = 256,
    done: Callable[[Episode], None] | None = None,
    begun: Callable[[Log], None] | None = None,
    *,
    keep: bool = True,
) -> list[Episode]:
    """Play episodes, at most `concurrency` at a time, and return them in the order of the plans.

    `begun` is called with the log of an episode as it begins, and can read along; `done` with each finished episode.
    Without `keep`, only `done` gets the episodes, and none is returned.
    """
    plans = list(plans)
    queue = iter(enumerate(plans))
    episodes: dict[int, Episode] = {}

    async def worker(bus: MemoryBus) -> None:
        for i, plan in queue:
            log = header(world, plan)
            if begun is not None:
                begun(log)
            episode = await play(world, bus, plan, f"{RUN}-{i}", log)
            if keep:
                episodes[i] = episode
            if done is not None:
                done(episode)

    async with MemoryBus() as bus, asyncio.TaskGroup() as group:
        for _ in range(min(concurrency, len(plans))):
            group.create_task(worker(bus))
    return [episodes[i] for i in sorted(episodes)]


def collect(
    world: World,
    plans: Iterable[Plan],
    *,
    concurrency: int = 256,
    clock: ClockName = "virtual",
    done: Callable[[Episode], None] | None = None,
    begun: Callable[[Log], None] | None = None,
    keep: bool = True,
) -> list[Episode]:
    """Play episodes on an event loop of their own; on the default, virtual clock waiting costs no real time."""
    with raised_gc_threshold():
        return run(play_all(world, plans, concurrency, done, begun, keep=keep), clock)
