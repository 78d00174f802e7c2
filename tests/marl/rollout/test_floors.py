"""Who speaks when: moderated and free floors in episodes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from arenas.spec import ReplySpec
from marl.context.transcript import Transcript
from marl.episode import Episode, Sample
from marl.policy.base import Policy, TextPolicy
from marl.policy.scripted import Random, Scripted
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.rollout.replay import replay
from protocols import ProtocolError
from protocols.envelope import Envelope, Kind
from tests.marl.worlds import one, raw, script, world


def said(episode: Episode) -> list[str]:
    return [f"{e.sender} {e.body}" for e in episode.log.replies() if e.kind is Kind.SAY and e.body]


def heard_before(episode: Episode, agent: str) -> list[str]:
    """What an agent had heard when it first spoke."""
    view = episode.log.view(agent)
    end = next(i for i, e in enumerate(view) if e.sender == agent and e.kind is Kind.SAY)
    return [e.sender for e in view[:end] if e.kind is Kind.SAY]


def talker(message: str, times: int, move: str = "x0") -> Scripted:
    """Says the same so many times in an episode, then nothing; moves when it is asked to."""
    left = [times]

    def line(heard: Sequence[Envelope], spec: ReplySpec) -> str:
        if spec.kind == "move":
            return move
        left[0] -= 1
        return message if left[0] >= 0 else ""

    return Scripted(line)


def test_a_moderator_chooses_the_speakers() -> None:
    here = world(arena={"rounds": 1}, floor={"type": "moderator", "seat": "a_0"})
    seats = {"a_0": script("c_0", "a_0", "m0", "done", "x0"), "b_0": script("x0"), "c_0": script("m2", "x0")}
    episode = one(here, Plan("e", seats, 1))
    assert said(episode) == ["c_0 m2", "a_0 m0"]
    calls = [e.envelope.body for e in episode.log.entries if e.envelope.body.startswith("floor")]
    assert calls == ["floor a_0 b_0 c_0", "floor a_0 b_0", "floor b_0"]
    assert [(t.agent, t.sample.text, t.spec.kind) for t in episode.turns][:3] == [
        ("a_0", "c_0", "move"),
        ("c_0", "m2", "say"),
        ("a_0", "a_0", "move"),
    ]
    assert heard_before(episode, "a_0") == ["c_0"]
    assert [t.agent for t in episode.turns if t.spec.alphabet == ("x0", "x1")] == list(here.agents)  # moves: at once
    assert raw([one(here, replay(episode.log))]) == raw([episode])


def test_an_illegal_call_of_a_moderator_calls_the_first_in_line() -> None:
    here = world(arena={"players": 2, "rounds": 1}, floor={"type": "moderator", "seat": "a_0"})
    seats = {"a_0": script("nobody", "m1", "d_0", "x0"), "b_0": script("m2", "x0")}
    episode = one(here, Plan("e", seats, 1))
    assert said(episode) == ["a_0 m1", "b_0 m2"]
    assert [t.legal for t in episode.turns] == [False, True, False, True, True, True]


def test_a_moderator_without_a_seat_draws_the_order() -> None:
    here = world(arena={"rounds": 4}, floor="moderator")
    episode = one(here, Plan("e", dict.fromkeys(here.agents, Random()), 1))
    orders = [[t.agent for t in episode.turns if t.stage == stage] for stage in (0, 2, 4, 6)]
    assert all(sorted(order) == list(here.agents) for order in orders)
    assert len({tuple(order) for order in orders}) > 1
    assert [len(heard_before(episode, agent)) for agent in orders[0]] == [0, 1, 2]


def test_free_talk_ends_when_nobody_answers() -> None:
    here = world(arena={"rounds": 1, "players": 3}, floor="free")
    seats = {"a_0": talker("m0", 1), "b_0": talker("m1", 0), "c_0": talker("m2", 2)}
    episode = one(here, Plan("e", seats, 1))
    assert said(episode) == ["a_0 m0", "c_0 m2", "c_0 m2"]
    silences = [e for e in episode.log.entries if e.envelope.kind is Kind.SAY and not e.envelope.body]
    assert silences
    assert all(not e.heard and e.envelope.to == "" for e in silences)
    # All are asked at first; then a (heard c), b (heard both), c (heard a); then a and b heard c again.
    assert [t.agent for t in episode.turns if t.spec.kind == "say"] == ["a_0", "b_0", "c_0"] * 2 + ["a_0", "b_0"]
    assert raw([one(here, replay(episode.log))]) == raw([episode])


def test_speaking_and_silence_are_priced() -> None:
    floor = {"type": "free", "speaking": 0.5, "silence": 0.25}
    price = [{"type": "price", "per_symbol": 0.125}]
    free, dear = (world(arena={"players": 2, "rounds": 1}, **p) for p in ({"floor": "free"}, {"floor": floor}))
    both = world(arena={"players": 2, "rounds": 1}, floor=floor, channel=price)
    returns = [
        one(here, Plan("e", {"a_0": talker("m0 m1", 1), "b_0": talker("m1", 0)}, 1)).returns
        for here in (free, dear, both)
    ]
    costs = [tuple(a - b for a, b in zip(returns[0], paid, strict=True)) for paid in returns[1:]]
    assert costs == [(0.5, 0.5), (0.75, 0.5)]  # b is silent twice: at first, and when it has heard a


def test_free_talk_ends_at_its_limit() -> None:
    here = world(arena={"players": 3, "rounds": 1}, floor={"type": "free", "limit": 4})
    episode = one(here, Plan("e", {a: talker("m0", 99) for a in here.agents}, 1))
    assert len(said(episode)) == 6  # those who were asked before the fourth message still spoke
    assert episode.drift == 0


class Slow(TextPolicy):
    """Thinks so long before each reply."""

    def __init__(self, policy: Policy, seconds: float) -> None:
        self.policy, self.seconds = policy, seconds

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        await asyncio.sleep(self.seconds)
        return await self.policy.reply(transcript, spec=spec, seed=seed, greedy=greedy)


def test_a_slow_agent_speaks_later_and_delays_nobody() -> None:
    here = world(arena={"players": 3, "rounds": 1}, floor="free")
    seats: dict[str, Policy] = {
        "a_0": Slow(talker("m0", 1), 5.0),
        "b_0": Slow(talker("m1", 2), 1.0),
        "c_0": Slow(talker("m2", 2), 1.0),
    }
    episode = one(here, Plan("e", seats, 1))
    times = [(e.sender, e.time) for e in episode.log.replies() if e.kind is Kind.SAY and e.body]
    assert times == [("b_0", 1.0), ("c_0", 1.0), ("b_0", 2.0), ("c_0", 2.0), ("a_0", 5.0)]


def test_a_missed_deadline_in_free_talk_counts_as_silence() -> None:
    here = world(arena={"players": 2, "rounds": 1}, floor="free", deadline=2.0)
    seats: dict[str, Policy] = {"a_0": Slow(talker("m0", 1), 1.5), "b_0": Slow(talker("m1", 9), 3.0)}
    episode = one(here, Plan("e", seats, 1))
    assert said(episode) == ["a_0 m0"]
    assert [t.sample.finish.value for t in episode.turns if t.agent == "b_0"][:2] == ["missing", "missing"]


def test_a_delayed_message_reopens_free_talk() -> None:
    here = world(arena={"players": 2, "rounds": 1}, floor="free", channel=[{"type": "delay", "seconds": 7}])
    episode = one(here, Plan("e", {"a_0": talker("m0", 1), "b_0": script("", "m3", "x0")}, 1))
    assert [(e.sender, round(e.time)) for e in episode.log.replies() if e.body[:1] == "m"] == [("a_0", 0), ("b_0", 7)]


def test_the_highest_bid_speaks_and_pays() -> None:
    here = world(arena={"players": 2, "rounds": 1}, floor={"type": "free", "bids": 2, "speaking": 0.25})
    free = world(arena={"players": 2, "rounds": 1}, floor={"type": "free", "bids": 2})
    lines = {"a_0": ("bid1", "bid1", "m0", "bid0", "x0"), "b_0": ("bid2", "m1 m1", "bid0", "bid0", "x0")}
    episode, unpaid = (one(w, Plan("e", {a: script(*s) for a, s in lines.items()}, 1)) for w in (here, free))
    assert said(episode) == ["b_0 m1 m1", "a_0 m0"]
    assert [a - b for a, b in zip(unpaid.returns, episode.returns, strict=True)] == [0.25, 0.5]
    assert heard_before(episode, "a_0") == ["b_0"]
    assert raw([one(here, replay(episode.log))]) == raw([episode])


def test_cheap_talk_before_a_matrix_game() -> None:
    """One leader proposes and the other follows: they meet, though neither could know where."""

    def lead(heard: Sequence[Envelope], spec: ReplySpec) -> str:
        spoken = any(e.kind is Kind.VIEW for e in heard[:-1])
        return "stag" if spec.kind == "move" else "" if spoken else "m1"

    def follow(heard: Sequence[Envelope], spec: ReplySpec) -> str:
        if spec.kind == "say":
            return ""
        return "stag" if any(e.kind is Kind.SAY and e.body == "m1" for e in heard) else "hare"

    here = world("matrix", arena={"game": "stag_hunt", "talk": 1}, floor="free")
    closed = world("matrix", arena={"game": "stag_hunt", "talk": 1}, floor="free", closed=["public"])
    scores = []
    for setting in (here, closed):
        seats = {"player_0": Scripted(lead), "player_1": Scripted(follow)}
        scores.append(collect(setting, [Plan("e", seats, 1)])[0].score)
    assert scores == [4.0, 1.5]


def test_an_unknown_moderator_is_a_user_error() -> None:
    with pytest.raises(ProtocolError, match=r"floor: no seat 'host_0'; the seats are a_0, b_0, c_0"):
        world(floor={"type": "moderator", "seat": "host_0"})
