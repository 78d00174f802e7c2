"""Languages over time: known codes agree as much as theory says, and a change of code shows when it happens."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marl.policy.base import Policy
from marl.policy.scripted import Scripted
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.study.data.corpus import MessageSample
from marl.study.history import Usual, closeness, history, similarity, stability, synchronisation, ties, usual
from protocols.log import Log
from tests.marl.worlds import world

MEANINGS = [f"a{i} b{j}" for i in range(3) for j in range(3)]
WORDS = st.lists(st.sampled_from(["m0", "m1", "m2"]), max_size=4)


def language(letter: str = "m", shift: int = 0) -> Usual:
    """One symbol for each attribute; another letter is another alphabet, a shift another code in the same one."""
    return {
        (0, f"a{i} b{j}"): (f"{letter}{(i + shift) % 3}", f"{letter}{(j + shift) % 3}")
        for i in range(3)
        for j in range(3)
    }


@given(WORDS, WORDS)
def test_closeness_is_a_share_symmetric_and_one_only_for_the_same(a: list[str], b: list[str]) -> None:
    assert 0 <= closeness(a, b) <= 1
    assert closeness(a, b) == closeness(b, a)
    assert (closeness(a, b) == 1) == (a == b)


def test_closeness_by_hand() -> None:
    assert closeness(("m0", "m1"), ("m0", "m2")) == 0.5
    assert closeness(("m0",), ("m1", "m2", "m0", "m3")) == 0.25
    assert closeness((), ("m0",)) == 0


def test_speakers_of_one_language_are_synchronised_and_strangers_are_not() -> None:
    same = synchronisation({"x": language(), "y": language(), "z": language()})
    assert same.value == 1
    assert same.n == 27
    assert same.null is not None
    assert same.null.p == pytest.approx(1 / 201)
    apart = synchronisation({"x": language("m"), "y": language("n")})
    assert apart.value == 0
    other = synchronisation({"x": language(), "y": language(shift=1)})
    assert other.value == 0  # no meaning keeps a symbol at its place
    assert other.null is not None
    assert other.null.p > 0.5


def test_half_the_speakers_agree() -> None:
    measure = synchronisation({"x": language(), "y": language(), "z": language("n")})
    assert measure.value == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("languages", "why"),
    [
        ({}, "one speaker"),
        ({"x": language()}, "one speaker"),
        ({"x": {(0, "a"): ("m0",)}, "y": {(0, "b"): ("m0",)}}, "same meaning"),
        ({"x": {(0, "a"): ("m0",)}, "y": {(1, "a"): ("m0",)}}, "same meaning"),
    ],
)
def test_without_common_meanings_there_is_no_synchronisation(languages: dict[str, Usual], why: str) -> None:
    measure = synchronisation(languages)
    assert measure.value is None
    assert why in measure.undefined


def test_stability_is_told_speaker_by_speaker() -> None:
    measure = stability({"x": language(), "y": language()}, {"x": language(), "y": language("n"), "z": language()})
    assert measure.value == 0.5
    assert measure.parts == {"x": 1.0, "y": 0.0}
    assert stability({"x": language()}, {"y": language()}).value is None


def test_the_usual_message_is_the_most_frequent() -> None:
    said = [("m1",), ("m0",), ("m1",), ("m2",)]
    assert usual([MessageSample("a", message, "x") for message in said]) == {"x": {(0, "a"): ("m1",)}}
    tied = usual([MessageSample("a", message, "x") for message in [("m1",), ("m0",)]])
    assert tied["x"][0, "a"] == ("m0",)


def test_similarity_is_the_mean_over_those_who_have_one() -> None:
    constant: Usual = dict.fromkeys(language(), ("m0",))
    measure = similarity({"x": language(), "y": constant})
    assert measure.value == pytest.approx(1.0)
    assert measure.parts == {"x": pytest.approx(1.0), "y": None}
    assert similarity({"y": constant}).value is None


def test_ties_need_more_than_chance() -> None:
    samples = [
        MessageSample(f"s{i % 4}", (f"m{i % 4}",), "x", answers={"y": f"s{i % 4}", "z": "s0"}) for i in range(80)
    ]
    by_listener = {tie.listener: tie for tie in ties(samples)}
    assert by_listener["y"].bits == pytest.approx(2, abs=0.1)
    assert by_listener["y"].p < 0.05
    assert (by_listener["z"].bits, by_listener["z"].p) == (0, 1)
    assert by_listener["y"].n == 80


def lewis(shift: int) -> dict[str, Policy]:
    return {
        "sender_0": Scripted(lambda heard, spec: f"m{(int(heard[-1].body[-1]) + shift) % 4}"),
        "receiver_0": Scripted(lambda heard, spec: f"s{(int(heard[-2].body[-1]) - shift) % 4}"),
    }


def training(changes_at: int, updates: int = 8, episodes: int = 64) -> list[Log]:
    """Games of lewis in which the code becomes another one after some updates."""
    here = world("lewis")
    logs = []
    for update in range(updates):
        seats = lewis(0 if update < changes_at else 1)
        plans = [Plan(f"train-{update}-{i}", seats, 1, {"case": i % 4}) for i in range(episodes)]
        logs += [episode.log for episode in collect(here, plans)]
    return logs


def values(logs: Sequence[Log], name: str, moments: int) -> list[float | None]:
    return [moment.measures[name].value for moment in history(logs, moments=moments)]


def test_a_change_of_code_shows_when_it_happens() -> None:
    logs = training(changes_at=4)
    moments = history(logs, moments=8)
    assert [moment.update for moment in moments] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert values(logs, "stability", 8) == [None, 1, 1, 1, 0, 1, 1, 1]
    assert values(logs, "score", 8) == [1.0] * 8
    assert values(logs, "length", 8) == [1.0] * 8
    assert moments[0].measures["synchronisation"].undefined == "there is one speaker"
    assert [moment.update for moment in history(logs, moments=2)] == [4, 8]


def test_few_episodes_make_few_moments_and_other_logs_none() -> None:
    assert len(history(training(1, updates=3, episodes=20))) == 1
    here = world("lewis")
    script = Scripted(lambda heard, spec: "m0" if spec.kind == "say" else "s0")
    (episode,) = collect(here, [Plan("a game", dict.fromkeys(here.agents, script), 1)])
    assert history([episode.log]) == []
    assert history([]) == []
