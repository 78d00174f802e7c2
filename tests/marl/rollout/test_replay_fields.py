"""Every field that a reply can carry stands in the log, and comes back in a replay and in a fork."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from arenas.spec import ReplySpec
from marl.context.transcript import Transcript
from marl.episode import Episode, Finish, Sample, Turn
from marl.intervention.message import Replace
from marl.policy.base import Policy
from marl.policy.scripted import Random
from marl.rollout.replay import fork, replay
from marl.scenario.world import World
from protocols import log as logs
from protocols.envelope import Kind
from tests.marl.worlds import SLOW, one, played, raw, world

FIELDS: Mapping[str, Mapping[str, Any]] = {
    "thought": {"thought": "hm", "thinking": 3},
    "thought without a count": {"thought": "hm"},
    "usage": {"usage": {"prompt": 12.0, "completion": 3.0, "cost": 0.25}},
    "cut off": {"finish": Finish.LENGTH},
    "stale version": {"tokens": (5, 1), "version": 7},
    "version without tokens": {"version": 7},
    "all": {
        "thought": "hm",
        "thinking": 3,
        "usage": {"prompt": 12.0},
        "finish": Finish.LENGTH,
        "tokens": (5, 1),
        "version": 7,
    },
}
PRICED: Mapping[str, Any] = {"name": "lewis", "think_price": 0.125}
ASIDES: Mapping[str, Any] = {
    "arena": {"rounds": 3, "least": 0},
    "memory": {"c_0": {"type": "state"}, "b_0": {"type": "overwrite"}},
    "tools": {"echo": {"seats": ["a_0", "b_0"], "calls": 2, "price": 0.125}},
    "think_price": 0.125,
    "latency": SLOW,
    "deadline": 0.9,
}


class Carrying(Random):
    """Random replies that carry given fields."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.fields = fields

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        sample = await super().reply(transcript, spec=spec, seed=seed, greedy=greedy)
        return sample._replace(**self.fields)


def carrying(here: World, fields: Mapping[str, Any]) -> dict[str, Policy]:
    return dict.fromkeys(here.agents, Carrying(fields))


def stored(turns: tuple[Turn, ...]) -> list[Turn]:
    """What a log holds of turns: all but log-probabilities, which depend on the batch."""
    return [turn._replace(sample=turn.sample._replace(behavior_logprobs=())) for turn in turns]


def assert_same(again: Episode, episode: Episode) -> None:
    assert raw([again]) == raw([episode])
    assert stored(again.turns) == stored(episode.turns)
    assert (again.rewards, again.stop) == (episode.rewards, episode.stop)


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_a_field_survives_replay_and_fork(fields: Mapping[str, Any]) -> None:
    here = world(**PRICED)
    seats = carrying(here, fields)
    (episode,) = played(here, seats, 1)
    for name, value in fields.items():
        assert [getattr(turn.sample, name) for turn in episode.turns] == [value, value]
    assert_same(one(here, replay(episode.log)), episode)
    for turn in episode.turns:
        assert_same(one(here, fork(episode.log, turn.seq, seats)), episode)


def test_thinking_costs_the_same_in_a_replay() -> None:
    here = world(**PRICED)
    (episode,) = played(here, carrying(here, {"thought": "hm", "thinking": 3}), 1, seed=3)
    before = tuple(x + 0.375 for x in episode.returns)
    assert before in {(0.0, 0.0), (1.0, 1.0)}
    assert one(here, replay(episode.log)).returns == episode.returns


def test_a_fork_that_changes_a_message_keeps_the_thoughts_before_it() -> None:
    here = world(**PRICED)
    seats = carrying(here, {"thought": "hm", "thinking": 3})
    (episode,) = played(here, seats, 1)
    at = episode.turns[0].seq
    again = one(here, fork(episode.log, at, seats, do=Replace(seq=at, body="m0")))
    assert stored(again.turns)[0] == stored(episode.turns)[0]
    assert again.log.entries[at].envelope == episode.log.entries[at].envelope


@pytest.mark.parametrize("fields", [FIELDS["all"], FIELDS["thought"]], ids=["all", "thought"])
def test_tool_calls_notes_and_missed_deadlines_survive_too(fields: Mapping[str, Any], tmp_path: Any) -> None:
    here = world(**ASIDES)
    seats = carrying(here, fields)
    episodes = played(here, seats, 4)
    kinds = {e.envelope.kind for episode in episodes for e in episode.log.entries}
    assert {Kind.CALL, Kind.NOTE, Kind.RESULT} <= kinds
    assert any(turn.sample.finish is Finish.MISSING for episode in episodes for turn in episode.turns)
    logs.save(tmp_path / "log.jsonl", [episode.log for episode in episodes])
    for episode, log in zip(episodes, logs.load(tmp_path / "log.jsonl"), strict=True):
        assert_same(one(here, replay(log)), episode)
        middle = episode.turns[len(episode.turns) // 2]
        assert_same(one(here, fork(log, middle.seq, seats)), episode)


def test_nobody_else_gets_a_thought() -> None:
    here = world(**PRICED)
    (episode,) = played(here, carrying(here, {"thought": "hm"}), 1)
    assert all("thought" not in e.data for e in episode.log.view("receiver_0") if e.sender == "sender_0")
