"""Conventions arise from nothing, stand without a reason, and fall to a minority that is large enough."""

from __future__ import annotations

import pytest

from arenas import ArenaError
from marl.errors import UserError
from marl.policy.scripted import Scripted
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.study.experiments.conventions import committed, dynamics, population, tipping
from tests.marl.worlds import world


def test_a_population_without_a_convention_finds_one() -> None:
    for outcome in population(agents=12, names=4, settled=False, seeds=range(6)):
        assert outcome.agreement[-1] == 1.0
        assert outcome.consensus is not None
        assert outcome.agreement[outcome.consensus // outcome.window - 1] >= 0.95
        assert outcome.holding[-1] in (0.0, 1.0)  # all have one name, whichever it is


def test_which_convention_is_a_matter_of_chance_and_of_the_seed_alone() -> None:
    ends = [outcome.holding[-1] for outcome in population(agents=8, settled=False, seeds=range(20))]
    assert 3 <= sum(ends) <= 17
    again = [outcome.holding[-1] for outcome in population(agents=8, settled=False, seeds=range(10, 20))]
    assert again == ends[10:]


def test_a_settled_convention_stands_and_falls_with_the_size_of_the_minority() -> None:
    outcome = tipping([0, 1, 4, 6], agents=12, seeds=range(6))
    assert outcome.share == [0, 1 / 12, 1 / 3, 0.5]
    assert outcome.flipped[:2] == [0, 0]
    assert outcome.flipped[2:] == [1, 1]
    assert outcome.holding[0] == 0
    assert outcome.critical.value == pytest.approx(1 / 3)
    assert outcome.critical.interval is not None
    assert outcome.critical.interval.low <= 1 / 3 <= outcome.critical.interval.high


def test_a_longer_memory_holds_out_longer() -> None:
    short, long = (
        tipping([1, 2, 3, 4, 5], agents=12, seeds=range(6), memory=memory).critical.value for memory in (2, 12)
    )
    assert short is not None
    assert long is None or long >= short


def test_where_no_minority_is_large_enough_there_is_no_critical_mass() -> None:
    outcome = tipping([0, 1], agents=12, seeds=range(2))
    assert outcome.critical.value is None
    assert outcome.critical.undefined == "not even 1 of 12 agents overturn the convention"


def test_a_log_by_hand() -> None:
    here = world("naming", arena={"agents": 2, "names": 2, "rounds": 4})
    picks = iter(["amber", "amber", "birch", "birch"])
    seats = {"agent_0": Scripted(lambda heard, spec: next(picks)), "agent_1": committed("birch")}
    (episode,) = collect(here, [Plan("one", seats, 1)])
    outcome = dynamics(episode.log, "birch", 2)
    assert outcome.committed == 1
    assert outcome.agreement == [0, 1]
    assert outcome.holding == [0, 1]
    assert outcome.consensus == 4


def test_what_is_no_population_is_one_sentence() -> None:
    with pytest.raises(UserError, match="a minority is 0 to 24 agents"):
        population(minority=25)
    with pytest.raises(UserError, match="memory=0"):
        population(memory=0)
    with pytest.raises(ArenaError, match="a graph"):
        population(graph="torus")
