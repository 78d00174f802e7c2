"""Another future of a logged episode."""

from __future__ import annotations

import pytest

from marl.episode import Episode
from marl.intervention.base import Intervention
from marl.intervention.message import Drop, Replace
from marl.policy.base import Policy
from marl.rollout.collect import collect
from marl.rollout.replay import fork, replay
from marl.scenario.world import World
from protocols.envelope import REFEREE, Kind
from protocols.log import Log
from tests.marl.worlds import WORLDS, lm_for, one, played, raw, seated, world

everywhere = pytest.mark.parametrize("name", WORLDS)


def entries(log: Log, before: int) -> bytes:
    """The log up to an entry, without its header."""
    return log.prefix(before).to_bytes().partition(b"\n")[2]


def instead(seq: int, body: str | None) -> Intervention:
    return Drop(seq=seq) if body is None else Replace(seq=seq, body=body)


def first_message(episode: Episode, listeners: int = 1) -> int:
    """The first message that at least so many listeners received."""
    return next(
        envelope.seq
        for envelope, heard in episode.log.entries
        if envelope.kind is Kind.SAY
        and envelope.sender != REFEREE
        and sum(h.body is not None for h in heard) >= listeners
    )


@everywhere
def test_a_fork_without_a_change_equals_the_episode(name: str) -> None:
    here = world(**WORLDS[name])
    seats = seated(here)
    (episode,) = played(here, seats, 1)
    forks = collect(here, [fork(episode.log, turn.seq, seats) for turn in episode.turns])
    assert raw(forks) == raw([episode]) * len(episode.turns)
    for live, (at, again) in zip(episode.turns, enumerate(forks), strict=True):
        assert again.turns[at].sample.behavior_logprobs == pytest.approx(
            live.sample.behavior_logprobs, abs=1e-5
        )  # it was drawn anew


def test_forks_of_one_log_are_isolated() -> None:
    here = world(**WORLDS["chat, all effects"])
    seats = seated(here)
    (episode,) = played(here, seats, 1)
    at = first_message(episode)
    plans = [fork(episode.log, at, seats, do=do) for do in ((), instead(at, "m3 m3"), instead(at, None))]
    together = collect(here, plans)
    assert raw(together) == raw([one(here, plan) for plan in plans])
    assert [again.drift for again in together] == [0, 0, 0]


@everywhere
@pytest.mark.parametrize("body", ["m3", None])
def test_do_changes_only_what_listeners_hear(name: str, body: str | None) -> None:
    if "matrix" in name and "talk" not in name:
        return  # nothing is said there
    here = world(**WORLDS[name])
    seats = seated(here)
    spoken = [episode for episode in played(here, seats, 8) if any(entry.heard for entry in episode.log.entries)][:3]
    assert spoken
    for episode in spoken:
        at = first_message(episode)
        again = one(here, fork(episode.log, at, seats, do=instead(at, body)))
        assert entries(again.log, at) == entries(episode.log, at)
        (sent, heard), (sent_then, heard_then) = again.log.entries[at], episode.log.entries[at]
        assert sent == sent_then
        assert [(h.to, h.time) for h in heard] == [(h.to, h.time) for h in heard_then]
        assert {h.body for h in heard} == {body}
        perceived = [
            e.body for agent in here.agents for e in again.log.view(agent) if e.seq == at and e.sender != agent
        ]
        assert perceived == ([body] * len(heard) if body else [])
        for (other, other_heard), (before, before_heard) in zip(
            again.log.entries[at + 1 :], episode.log.entries[at + 1 :], strict=False
        ):
            if (other.sender, other.to, other.body, other.time) != (before.sender, before.to, before.body, before.time):
                break
            assert other_heard == before_heard  # the channel draws the same numbers in both futures


def test_simultaneous_speakers_do_not_react_to_a_changed_message() -> None:
    here = world(arena={"rounds": 1})
    seats = seated(here)
    speakers = len(here.agents)
    changed = 0
    for episode in played(here, seats, 8):
        at = first_message(episode)
        for word in ("m0", "m1", "m2", "m3", None):
            again = one(here, fork(episode.log, at, seats, do=instead(at, word)))
            assert [t.words for t in again.turns[:speakers]] == [t.words for t in episode.turns[:speakers]]
            changed += [t.words for t in again.turns] != [t.words for t in episode.turns]
    assert changed, "no listener ever reacts, so this test shows nothing"


@everywhere
def test_salt_changes_only_what_comes_after(name: str) -> None:
    here = world(**WORLDS[name])
    seats = seated(here)
    (episode,) = played(here, seats, 1)
    middle = episode.turns[len(episode.turns) // 2].seq
    again = collect(here, [fork(episode.log, middle, seats, salt=salt) for salt in range(1, 25)])
    # On a free floor a reply that is drawn anew may come sooner; where several are asked at once all wait for the last:
    # what stood before it was asked for stays.
    asked = any(word in name for word in ("likes", "free", "tool"))
    start = episode.log.entries[middle].envelope.reply_to if asked else middle
    assert start
    for other in again:
        assert entries(other.log, start) == entries(episode.log, start)
    assert len(set(raw(again))) > 1
    assert raw(collect(here, [fork(episode.log, middle, seats, salt=salt) for salt in range(1, 25)])) == raw(again)


def test_a_fork_can_be_replayed_and_forked_again() -> None:
    here = world(**WORLDS["chat, all effects"])
    seats = seated(here)
    (episode,) = played(here, seats, 1)
    at = first_message(episode, 2)
    again = one(here, fork(episode.log, at, seats, do=instead(at, "m0 m0"), salt=3))
    assert again.log.do == [{"type": "replace", "seq": at, "body": "m0 m0"}]
    assert episode.log.do == []
    assert raw([one(here, replay(again.log))]) == raw([again])
    last = again.turns[-1].seq
    assert raw([one(here, fork(again.log, last, seats, salt=3))]) == raw([again])


def test_a_replay_of_a_truncated_log_is_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    here = world()
    (episode,) = played(here, seated(here), 1)
    again = one(here, replay(episode.log.prefix(episode.turns[4].seq)))
    assert again.stop == "error"
    assert "log is incomplete" in again.error
    assert [t.words for t in again.turns] == [t.words for t in episode.turns[:3]]


def other_player(here: World) -> dict[str, Policy]:
    """Seats with weights that never played before."""
    return seated(here, lm_for(here, seed=77))


def test_another_policy_takes_over_a_recorded_episode() -> None:
    here = world(**WORLDS["repeated matrix"])
    (episode,) = played(here, seated(here), 1)
    live = other_player(here)
    at = episode.turns[4]
    again = one(here, fork(episode.log, at.seq, live))
    assert [t.sample.tokens for t in again.turns[:4]] == [t.sample.tokens for t in episode.turns[:4]]
    # From the beginning the newcomer would have played otherwise, or this test would show nothing.
    assert raw(played(here, live, 1)) != raw([episode])
    assert all(turn.sample.behavior_logprobs == () for turn in again.turns[:4])
    assert all(turn.sample.behavior_logprobs for turn in again.turns[4:])
    assert again.log.seats == episode.log.seats
