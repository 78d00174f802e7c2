"""What the referee makes of good, bad, late and missing replies."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from arenas import ARENAS, Anchors, Arena, Outcome
from arenas.spec import Words, choose, say
from marl.context.transcript import Transcript
from marl.episode import Episode, Finish, Sample, Stop
from marl.policy.base import Policy, TextPolicy
from marl.policy.scripted import Random
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.scenario.world import World
from protocols.envelope import Envelope, Kind
from tests.marl.worlds import one, raw, script, world

TALK = ("m0 m1", "x0")  # a legal message and a legal choice for a round of `chat`


def chat(**lines: tuple[str, ...]) -> tuple[World, dict[str, Policy]]:
    here = world(arena={"players": len(lines), "rounds": len(lines["a"]) // 2})
    return here, {f"{name}_0": script(*said) for name, said in lines.items()}


def heard_by(episode: Episode, agent: str) -> list[str]:
    return [f"{e.sender} {e.body}" for e in episode.log.view(agent) if e.kind is Kind.SAY and e.sender != agent]


@pytest.mark.parametrize("nonsense", ["", "m9", "m0 m1 m2 m3", "x0", "say m0", "m0, m1", "\n"])
def test_an_illegal_reply_is_logged_and_not_delivered(nonsense: str) -> None:
    here, seats = chat(a=(nonsense, "x1", *TALK), b=TALK * 2)
    episode = one(here, Plan("e", seats, 1))
    assert episode.stop is Stop.TERMINATED
    turn = episode.turns[0]
    assert (turn.agent, turn.legal, turn.words) == ("a_0", False, turn.spec.default)
    assert turn.sample.text == nonsense
    assert episode.log.entries[turn.seq].envelope.data["legal"] is False
    assert episode.log.entries[turn.seq].heard == ()
    assert heard_by(episode, "b_0") == ["a_0 m0 m1"]  # of the second round
    assert [t.legal for t in episode.turns] == [False] + [True] * 7
    assert episode.drift == 0


def test_an_illegal_move_counts_as_the_default() -> None:
    here, seats = chat(a=("m0", "x7"), b=TALK)
    _, obedient = chat(a=("m0", "x0"), b=TALK)
    wrong, right = (one(here, Plan("e", s, 1)) for s in (seats, obedient))
    assert [t.legal for t in wrong.turns] == [True, True, False, True]
    assert wrong.rewards == right.rewards


class Slow(TextPolicy):
    """Replies after so many seconds, one number for each turn."""

    def __init__(self, reply: Policy, *seconds: float) -> None:
        self.policy, self.seconds = reply, list(seconds)

    async def reply(self, transcript: Transcript, *, spec: Any, seed: int, greedy: bool) -> Sample:
        await asyncio.sleep(self.seconds.pop(0))
        return await self.policy.reply(transcript, spec=spec, seed=seed, greedy=greedy)


def test_a_missing_reply_is_an_outcome() -> None:
    here = world(arena={"players": 2, "rounds": 2}, deadline=1.0)
    a = Slow(script("m1", "m2", "x1"), 5.0, 0.1, 1.0, 1.5)
    episode = one(here, Plan("e", {"a_0": a, "b_0": script(*TALK, *TALK)}, 1))
    assert episode.stop is Stop.TERMINATED
    mine = [turn for turn in episode.turns if turn.agent == "a_0"]
    assert [t.sample.finish for t in mine] == [Finish.MISSING, Finish.STOP, Finish.STOP, Finish.MISSING]
    assert [t.legal for t in mine] == [False, False, True, False]  # m1 is no choice; m2 came at the last moment
    assert mine[0].words == mine[0].spec.default
    data = episode.log.entries[mine[0].seq].envelope.data
    assert data["missing"] is True
    assert heard_by(episode, "b_0") == ["a_0 m2"]
    assert episode.drift == 0
    assert [t.legal for t in episode.turns if t.agent == "b_0"] == [True] * 4


def test_a_reply_at_the_deadline_counts() -> None:
    for deadline in (0.1, 0.3, 0.7, 1.1):
        here = world("matrix", arena={"rounds": 9}, deadline=deadline, latency={"constant": deadline})
        episode = one(here, Plan("e", dict.fromkeys(here.agents, Random()), 1))
        assert {t.sample.finish for t in episode.turns} == {Finish.STOP}
        here = world("matrix", arena={"rounds": 9}, deadline=deadline, latency={"constant": deadline + 1e-5})
        episode = one(here, Plan("e", dict.fromkeys(here.agents, Random()), 1))
        assert {t.sample.finish for t in episode.turns} == {Finish.MISSING}


class Fails(TextPolicy):
    """Replies twice, then raises in one episode."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.asked = 0

    async def reply(self, transcript: Transcript, *, spec: Any, seed: int, greedy: bool) -> Sample:
        self.asked += 1
        if self.asked == 3:
            raise self.error
        return Sample(" ".join(spec.words(0)))


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), TimeoutError("no answer"), KeyError("x")])
@pytest.mark.parametrize("deadline", [None, 1.0])
def test_an_agent_that_raises_ends_its_own_episode_and_no_other(
    error: Exception, deadline: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    here = world(arena={"players": 2, "rounds": 2}, deadline=deadline)
    healthy: dict[str, Policy] = dict.fromkeys(here.agents, Random())
    seats = [healthy, healthy | {"b_0": Fails(error)}, healthy]
    with caplog.at_level(logging.CRITICAL):
        episodes = collect(here, [Plan(f"e{i}", s, 1) for i, s in enumerate(seats)])
    assert [episode.stop for episode in episodes] == [Stop.TERMINATED, Stop.ERROR, Stop.TERMINATED]
    failed = episodes[1]
    assert failed.error == f"b_0: {error!r}"
    assert [turn.agent for turn in failed.turns] == ["a_0", "b_0", "a_0", "b_0"]
    assert len(failed.rewards) == 4
    assert any(map(any, failed.rewards))  # what the first round paid is kept
    assert failed.log.entries[-1].envelope.body == "error"
    assert raw([episodes[0], episodes[2]]) == raw(collect(here, [Plan(f"e{i}", healthy, 1) for i in (0, 2)]))


def test_a_message_is_charged_to_its_sender() -> None:
    price = [{"type": "price", "per_symbol": 0.25, "per_message": 0.125}]
    plain, dear = (world(arena={"players": 2, "rounds": 2}, channel=effects) for effects in ([], price))
    lines = {"a_0": ("m0 m1 m2", "x0", "m0", "x1"), "b_0": ("m9", "x0", "m1 m1", "x0")}
    free, paid = (one(w, Plan("e", {a: script(*said) for a, said in lines.items()}, 1)) for w in (plain, dear))
    booked = [tuple(f - p for f, p in zip(*pair, strict=True)) for pair in zip(free.rewards, paid.rewards, strict=True)]
    nothing = (0.0, 0.0)
    assert booked == [nothing, (0.875, 0.0), nothing, nothing, nothing, (0.375, 0.625), nothing, nothing]
    assert paid.log.entries[paid.turns[0].seq].envelope.data["price"] == 0.875


def test_a_reward_is_recorded_on_the_last_turn_of_its_stage() -> None:
    here, seats = chat(a=("m0", "x0", "m0", "x1"), b=("m0", "x1", "m0", "x1"))
    # The secrets are x0 (a) and x1 (b), in the second round the other way round. First both choose their own, then both
    # x1: a's own, and what b is to find.
    episode = one(here, Plan("e", seats, 1, {"case": 2}))
    nothing = (0.0, 0.0)
    first, second = (-0.1, -0.1), (-0.1, 2.0)
    assert list(episode.rewards) == [nothing, nothing, nothing, first, nothing, nothing, nothing, second]
    assert [t.stage for t in episode.turns] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert episode.returns == pytest.approx((-0.2, 1.9))
    assert episode.score == pytest.approx(0.85)
    rewards = [e.data for e, _ in episode.log.entries if e.kind is Kind.REWARD]
    assert rewards == [dict(zip(here.agents, pay, strict=True)) for pay in (first, second)]


class Tips(Arena):
    """Pays 1 for a message, nothing for the move after it."""

    metadata = Arena.metadata | {"name": "tips_v0"}
    cases = 1

    def __init__(self) -> None:
        super().__init__({"a_0": (say(("m0",), 1), choose(("x0",)))})

    def lay(self, case: int) -> None:
        self.talking = True

    def acting(self) -> tuple[str, ...]:
        return ("a_0",)

    def spec(self, agent: str) -> Any:
        return self.replies[agent][0 if self.talking else 1]

    def view(self, agent: str) -> str:
        return ""

    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        self.talking = not self.talking
        return Outcome({"a_0": 1.0 - self.talking}, done=self.talking)

    def anchors(self) -> Anchors:
        return Anchors(0, 0, 0)


def test_a_price_equal_to_the_reward_is_charged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARENAS, "tips", Tips)
    here = world("tips", channel=[{"type": "price", "per_message": 1.0}])
    episode = one(here, Plan("e", {"a_0": Random()}, 1))
    assert episode.rewards == ((0.0,), (0.0,))


def seen_before_replying(episode: Episode, agent: str, turn: int) -> list[Envelope]:
    view = episode.log.view(agent)
    own = [i for i, envelope in enumerate(view) if envelope.sender == agent]
    return [e for e in view[: own[turn]] if e.kind is Kind.SAY and e.sender != agent]


@pytest.mark.parametrize(("floor", "heard"), [("rounds", [0, 1, 2]), ("simultaneous", [0, 0, 0])])
def test_agents_hear_earlier_speakers_only_in_rounds(floor: str, heard: list[int]) -> None:
    for latency in ({}, {"constant": 0.1, "jitter": 3.0}):
        here = world(arena={"rounds": 1}, floor=floor, latency=latency)
        for episode in collect(here, [Plan(f"e{i}", dict.fromkeys(here.agents, Random()), 1) for i in range(4)]):
            assert [len(seen_before_replying(episode, a, 0)) for a in here.agents] == heard
            assert [len(seen_before_replying(episode, a, 1)) for a in here.agents] == [2, 2, 2]
            assert [t.agent for t in episode.turns] == [*here.agents] * 2


def test_only_the_audience_hears() -> None:
    here = world(arena={"rounds": 1}, topology={"type": "chain"})
    episode = one(here, Plan("e", {a: script(f"m{i}", "x0") for i, a in enumerate(here.agents)}, 1))
    assert [heard_by(episode, a) for a in here.agents] == [["b_0 m1"], ["a_0 m0", "c_0 m2"], ["b_0 m1"]]
