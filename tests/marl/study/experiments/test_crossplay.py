"""Runs that understand each other, runs that need a dictionary, and runs that do not understand each other."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from marl.errors import UserError
from marl.policy.base import Policy
from marl.policy.scripted import Scripted
from marl.rundir.folder import RunDir
from marl.rundir.load import Trained
from marl.scenario.world import World
from marl.study.data.result import Crossplay
from marl.study.experiments.crossplay import SpokenCode, crossplay, relabelling
from tests.marl.worlds import world


def run(here: World, name: str, shift: int) -> Trained:
    """A code for lewis in which state i is symbol i + shift, modulo 4."""

    seats: dict[str, Policy] = {
        "sender_0": Scripted(lambda heard, spec: f"m{(int(heard[-1].body[-1]) + shift) % 4}"),
        "receiver_0": Scripted(lambda heard, spec: f"s{(int(heard[-2].body[-1]) - shift) % 4}"),
    }
    return Trained(RunDir(Path(name)), here, seats, version=1, seed=0)


def played(*shifts: int) -> Crossplay:
    here = world("lewis")
    return crossplay([run(here, f"run-{i}", shift) for i, shift in enumerate(shifts)])


def test_runs_with_one_code_understand_each_other() -> None:
    result = played(1, 1, 1)
    assert result.scores == [[1.0] * 3] * 3
    assert (result.within.value, result.across.value, result.gap.value) == (1.0, 1.0, 0.0)
    assert result.gap.interval is not None
    assert (result.gap.interval.low, result.gap.interval.high) == (0.0, 0.0)


def test_runs_with_other_words_need_only_a_dictionary() -> None:
    result = played(0, 1, 2)
    assert result.scores == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    assert result.relabelled == [[1.0] * 3] * 3
    assert (result.across.value, result.gap.value, result.across_relabelled.value) == (0.0, 1.0, 1.0)


def test_a_run_that_says_one_thing_gains_nothing_by_a_dictionary() -> None:
    here = world("lewis")
    mute = run(here, "mute", 0)
    mute = Trained(mute.dir, here, {**mute.seats, "sender_0": Scripted(lambda heard, spec: "m2")}, 1, 0)
    result = crossplay([run(here, "plain", 0), mute])
    assert result.scores == [[1.0, 1.0], [0.25, 0.25]]  # the mute run's listener knows the plain code
    assert result.relabelled[1][0] == 0.25


def test_the_seat_of_the_row_can_be_chosen() -> None:
    here = world("lewis")
    runs = [run(here, "plain", 0), run(here, "mute", 0)]
    runs[1] = Trained(runs[1].dir, here, {**runs[1].seats, "sender_0": Scripted(lambda heard, spec: "m2")}, 1, 0)
    result = crossplay(runs, seat="receiver_0")
    assert result.scores == [[1.0, 0.25], [1.0, 0.25]]


def test_the_dictionary_joins_what_stands_for_the_same() -> None:
    mine: SpokenCode = {("a", 0): {"x": Counter({("m0", "m1"): 3}), "y": Counter({("m1", "m1"): 1})}}
    theirs: SpokenCode = {("a", 0): {"x": Counter({("m2", "m0"): 5}), "y": Counter({("m0", "m0"): 2})}}
    assert relabelling(mine, theirs, ("m0", "m1", "m2")) == {"m0": "m2", "m1": "m0", "m2": "m1"}


def test_where_more_than_two_play_nothing_is_relabelled() -> None:
    here = world("population", arena={"agents": 3})
    script = Scripted(lambda heard, spec: "m0" if spec.kind == "say" else "s0")
    runs = [Trained(RunDir(Path(f"r{i}")), here, dict.fromkeys(here.agents, script), 1, 0) for i in (0, 1)]
    result = crossplay(runs)
    assert result.relabelled == []
    assert "3 seats" in result.why
    assert result.across_relabelled.undefined == result.why


def test_what_cannot_be_played_across_is_one_sentence() -> None:
    here = world("lewis")
    with pytest.raises(UserError, match="two runs or more"):
        crossplay([run(here, "one", 0)])
    with pytest.raises(UserError, match="b was trained in another scenario than a"):
        crossplay([run(here, "a", 0), run(world("lewis", arena={"n": 3}), "b", 0)])
    with pytest.raises(UserError, match="no seat 'nobody'"):
        crossplay([run(here, "a", 0), run(here, "b", 0)], seat="nobody")
