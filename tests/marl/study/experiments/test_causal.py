from __future__ import annotations

from math import log2

import pytest

from marl.errors import UserError
from marl.policy.base import Policy
from marl.policy.scripted import Random, Scripted
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.scenario.world import World
from marl.study.experiments.causal import Influence, influence
from protocols.log import Log
from tests.marl.worlds import WORLDS, played, seated, world

SPEAKER = Scripted(lambda heard, spec: "m" + heard[-1].body[-1])
LISTENER = Scripted(lambda heard, spec: "s" + heard[-2].body[-1] if len(heard) > 1 else "s0")
DEAF = Scripted(lambda heard, spec: "s0")


def games(here: World, speaker: Policy, listener: Policy) -> tuple[dict[str, Policy], list[Log]]:
    seats = {"sender_0": speaker, "receiver_0": listener}
    plans = [Plan(f"e{case}", seats, 1, {"case": case}, greedy=True) for case in range(here.arena.cases)]
    return seats, [episode.log for episode in collect(here, plans)]


def one(here: World, speaker: Policy, listener: Policy, **options: int) -> Influence:
    seats, logs = games(here, speaker, listener)
    (measured,) = influence(here, seats, logs, **options)
    return measured


def test_a_listener_that_does_as_it_is_told() -> None:
    measured = one(world("lewis"), SPEAKER, LISTENER)
    assert (measured.speaker, measured.listener) == ("sender_0", "receiver_0")
    assert (measured.contexts, measured.alternatives) == (4, 4)
    assert measured.flip_rate == 1
    assert measured.information == pytest.approx(2)
    assert measured.information_uniform == pytest.approx(2)
    assert measured.score == 1
    assert measured.score_shuffled == pytest.approx(0.25)
    assert measured.score_lost == pytest.approx(0.25)
    assert measured.gap == pytest.approx(0.75)


def test_a_deaf_listener_is_not_influenced() -> None:
    """Lowe's own code would find ln 4 here: it takes a mean for the sum over messages."""
    measured = one(world("lewis"), SPEAKER, DEAF)
    assert measured.flip_rate == 0
    assert measured.information == 0
    assert measured.information_uniform == 0
    assert measured.gap == 0


def test_a_speaker_that_says_one_thing_only_has_no_alternative() -> None:
    measured = one(world("lewis"), Scripted(lambda heard, spec: "m1"), LISTENER)
    assert measured.alternatives == 1
    assert (measured.flip_rate, measured.information, measured.gap) == (0, 0, 0)
    assert measured.score_lost == pytest.approx(0.25)


def test_the_prior_over_messages_counts() -> None:
    """States 0 to 2 are m0, state 3 is m3: the message is rarely a surprise, unless all are equally likely."""
    measured = one(world("lewis"), Scripted(lambda heard, spec: "m3" if heard[-1].body[-1] == "3" else "m0"), LISTENER)
    assert measured.alternatives == 2
    assert measured.information == pytest.approx(-0.75 * log2(0.75) - 0.25 * log2(0.25))
    assert measured.information_uniform == pytest.approx(1)
    assert measured.score == pytest.approx(0.5)


def test_a_listener_that_hears_only_two_words_apart() -> None:
    listener = Scripted(lambda heard, spec: "s0" if heard[0].body in ("m0", "m1") else "s2")
    measured = one(world("lewis"), SPEAKER, listener)
    assert measured.flip_rate == pytest.approx(2 / 3)
    assert measured.information == pytest.approx(1)


def test_contexts_and_alternatives_are_bounded() -> None:
    here = world("lewis", arena={"n": 9, "k": 9})
    measured = one(here, SPEAKER, LISTENER, contexts=5, alternatives=3)
    assert (measured.contexts, measured.alternatives) == (5, 3)
    assert measured.effect() == one(here, SPEAKER, LISTENER, contexts=5, alternatives=3).effect()


def test_a_message_that_was_lost_or_distorted_is_judged_as_it_was_said() -> None:
    for channel in ([{"type": "loss", "p": 0.5}], [{"type": "noise", "p": 0.5}]):
        here = world("lewis", channel=channel)
        listener = Scripted(lambda heard, spec: "s" + heard[0].body[-1] if len(heard) > 1 else "s0")
        measured = one(here, SPEAKER, listener)
        assert measured.contexts == 4
        assert measured.score == 1


def test_where_nothing_is_said_there_is_nothing_to_measure() -> None:
    here = world("matrix")
    seats = dict.fromkeys(here.agents, Random())
    assert influence(here, seats, [episode.log for episode in played(here, seats, 2)]) == []


@pytest.mark.parametrize("name", ["chat", "chat, all effects", "chat on a ring", "chat with a deadline", "lewis"])
def test_every_listener_of_every_speaker_is_measured(name: str) -> None:
    here = world(**WORLDS[name])
    seats = seated(here)
    logs = [episode.log for episode in played(here, seats, 3)]
    effects = influence(here, seats, logs, alternatives=3, contexts=6)
    pairs = {(effect.speaker, effect.listener) for effect in effects}
    assert len(pairs) == len(effects)
    assert pairs <= {(a, b) for a in here.agents for b in here.topology.audience(a)}
    if name in ("chat", "lewis"):
        assert len(effects) == (6 if name == "chat" else 1)
    for effect in effects:
        assert 0 <= effect.flip_rate <= 1
        assert 0 <= effect.information <= log2(effect.alternatives) + 1e-9
        assert effect.contexts <= 6


def test_the_logs_are_not_changed() -> None:
    here = world("lewis")
    seats, logs = games(here, SPEAKER, LISTENER)
    before = [log.to_bytes() for log in logs]
    influence(here, seats, logs)
    assert [log.to_bytes() for log in logs] == before


def test_a_listener_that_fails_is_reported() -> None:
    here = world("lewis")

    def fail(heard: object, spec: object) -> str:
        raise KeyError("no such word")

    seats, logs = games(here, SPEAKER, LISTENER)
    with pytest.raises(UserError, match="a fork of episode e0 failed: receiver_0: KeyError"):
        influence(here, seats | {"receiver_0": Scripted(fail)}, logs)
