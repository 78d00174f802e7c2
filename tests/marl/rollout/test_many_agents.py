"""Episodes of more agents than an inbox of the usual size has room for, and what reads the logs of many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from arenas import ARENAS, Anchors, Arena, Outcome
from arenas.spec import Words, say, symbols
from marl.episode import Stop
from marl.policy.scripted import Random, Scripted
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from protocols.bus import CAPACITY
from protocols.envelope import EVERYONE, Envelope, Kind
from protocols.log import Log
from tests.marl.worlds import WORLDS, one, world


class Assembly(Arena):
    """Everyone says one symbol, once."""

    metadata = Arena.metadata | {"name": "assembly_v0"}
    cases = 1

    def __init__(self, agents: int = 2) -> None:
        super().__init__(dict.fromkeys((f"member_{i}" for i in range(agents)), say(symbols("m", 4), 1)))

    def lay(self, case: int) -> None:
        pass

    def acting(self) -> tuple[str, ...]:
        return tuple(self.possible_agents)

    def view(self, agent: str) -> str:
        return ""

    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        return Outcome(done=True)

    def anchors(self) -> Anchors:
        return Anchors(0.0, 0.0, 0.0)


def test_inboxes_grow_with_the_number_of_agents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARENAS, "assembly", Assembly)
    agents = CAPACITY + 76
    doubling = [{"type": "duplicate", "p": 1.0}]
    here = world("assembly", arena={"agents": agents}, topology={"type": "star"}, channel=doubling)
    episode = one(here, Plan("e", dict.fromkeys(here.agents, Scripted(lambda heard, spec: "m0")), 1))
    assert (episode.stop, episode.drift) == (Stop.TERMINATED, 0)
    heard = [e for e in episode.log.view("member_0") if e.kind is Kind.SAY and e.sender != "member_0"]
    assert len(heard) == 2 * (agents - 1)


def slow_view(log: Log, agent: str) -> list[Envelope]:
    """What an agent perceived, the plain way: the log is read for it alone."""
    received: list[tuple[float, int, Envelope]] = []
    replies: list[Envelope] = []
    for seq, (envelope, heard) in enumerate(log.entries):
        if envelope.sender == agent:
            replies.append(envelope)
        elif envelope.kind is Kind.SAY:
            mine = [reception for reception in heard if reception.to == agent and reception.body is not None]
            received += [(h.time, seq, envelope.as_heard(str(h.body), n, h.sender)) for n, h in enumerate(mine)]
        elif envelope.to in (agent, EVERYONE):
            received.append((envelope.time, seq, envelope))
    received.sort(key=lambda item: item[:2])
    view: list[Envelope] = []
    for reply in replies:
        while len([e for e in view if e.sender != agent]) < int(reply.data["seen"]):
            view.append(received.pop(0)[2])
        view.append(reply)
    return view + [envelope for _, _, envelope in received]


@pytest.mark.parametrize("name", WORLDS)
def test_views_of_all_agents_equal_the_view_of_one(name: str) -> None:
    here = world(**WORLDS[name])
    for episode in collect(here, [Plan(f"e{i}", dict.fromkeys(here.agents, Random()), 3) for i in range(4)]):
        views = episode.log.views(here.agents)
        assert list(views) == list(here.agents)
        for agent in here.agents:
            assert views[agent] == episode.log.view(agent) == slow_view(episode.log, agent)


def test_returns_count_repeated_reward_rows() -> None:
    here = world(arena={"players": 2})
    episode = one(here, Plan("e", dict.fromkeys(here.agents, Random()), 1))
    paid, nothing = (0.5, -1.0), (0.0, 0.0)
    assert replace(episode, rewards=(nothing, paid, nothing, paid, (0.25, 0.0))).returns == (1.25, -2.0)
    assert replace(episode, rewards=(nothing,) * 4).returns == (0.0, 0.0)
    assert replace(episode, rewards=()).returns == (0.0, 0.0)
