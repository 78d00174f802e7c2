"""What the channel and the seats are worth, in games whose answers are known."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest

from marl.errors import UserError
from marl.metrics.measure import Measure
from marl.policy.base import Policy
from marl.policy.scripted import Scripted
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.scenario.world import World
from marl.study.experiments import causal, replacement
from marl.study.experiments.replacement import Replay
from protocols.effects import REWRITERS
from protocols.log import Log
from tests.marl.worlds import WORLDS, played, seated, world

SPEAKER = Scripted(lambda heard, spec: "m" + heard[-1].body[-1])
LISTENER = Scripted(lambda heard, spec: "s" + heard[0].body[-1] if len(heard) > 1 else "s0")
DEAF = Scripted(lambda heard, spec: "s0")


def games(here: World, speaker: Policy, listener: Policy) -> tuple[dict[str, Policy], list[Log]]:
    seats = dict(zip(here.agents, (speaker, listener), strict=True))
    plans = [Plan(f"e{case}", seats, 1, {"case": case}, greedy=True) for case in range(here.arena.cases)]
    return seats, [episode.log for episode in collect(here, plans)]


def measured(here: World, speaker: Policy, listener: Policy) -> dict[str, Measure]:
    seats, logs = games(here, speaker, listener)
    return {measure.name: measure for measure in replacement.measures(Replay(here, seats, logs))}


def test_a_code_that_works_is_worth_what_it_adds_to_guessing() -> None:
    measures = measured(world("lewis"), SPEAKER, LISTENER)
    assert measures["gap_lost"].value == 0.75
    assert measures["gap_constant"].value == 0.75
    interval = measures["gap_lost"].interval
    assert interval is not None
    assert interval.low <= 0.75 <= interval.high
    shuffled = measures["gap_shuffled"].value
    assert shuffled is not None
    assert 0.3 <= shuffled <= 1  # some of four messages come to where they belong
    assert measures["gap_reordered"].undefined == "no message has two different words"
    worth = measures["worth sender_0"]
    assert worth.parts["silent"] == 0.75
    assert worth.value is not None
    assert worth.value > 0
    assert measures["eavesdropping"].undefined == "no channel has an eavesdropper"


def test_a_speaker_whom_nobody_hears_is_worth_nothing() -> None:
    measures = measured(world("lewis"), SPEAKER, DEAF)
    for name in ("gap_lost", "gap_shuffled", "gap_constant", "worth sender_0"):
        assert measures[name].value == 0
        assert measures[name].interval is not None
    assert measures["worth sender_0"].parts == {"random": 0, "silent": 0}


def test_order_matters_to_who_goes_by_positions_only() -> None:
    here = world("reconstruction", arena={"values": 4, "length": 2, "alphabet": 8})
    by_place = Scripted(
        lambda heard, spec: (
            " ".join(k + m[1:] for k, m in zip("ab", heard[0].body.split(), strict=True)) if len(heard) > 1 else "a0 b0"
        )
    )
    placed = Scripted(lambda heard, spec: heard[-1].body.replace("object ", "").replace("a", "m").replace("b", "m"))
    assert (measured(here, placed, by_place)["gap_reordered"].value or 0) > 0.1

    def tell(text: str) -> str:  # b3 is m7: a symbol says which attribute it speaks of
        first, second = text.replace("object ", "").split()
        return f"m{first[1]} m{int(second[1]) + 4}"

    def read(text: str) -> str:
        numbers = sorted(int(word[1:]) for word in text.split()) if text.startswith("m") else [0, 4]
        numbers = [min(numbers[0], 3), min(max(numbers[1], 4), 7)]
        return f"a{numbers[0]} b{numbers[1] - 4}"

    bag = (Scripted(lambda heard, spec: tell(heard[-1].body)), Scripted(lambda heard, spec: read(heard[0].body)))
    seats, logs = games(here, *bag)
    replay = Replay(here, seats, logs)
    assert replay.base[3].score == 1
    assert replacement._order(replay).value == 0


def test_paraphrases_are_synonyms_or_by_a_rewriter() -> None:
    """State i is m_i in some episodes and m_(i + 2) in others."""
    here = world("lewis", arena={"n": 2, "k": 4})
    either = Scripted(lambda heard, spec: f"m{int(heard[-1].body[-1]) + 2 * (int(heard[-1].episode[1:]) // 2 % 2)}")
    knows_both = Scripted(lambda heard, spec: f"s{int(heard[0].body[-1]) % 2}")
    knows_one = Scripted(lambda heard, spec: f"s{heard[0].body[-1]}" if heard[0].body in ("m0", "m1") else "s0")
    for listener, score, loss in ((knows_both, 1.0, 0.0), (knows_one, 0.75, 0.0)):
        seats: dict[str, Policy] = {"sender_0": either, "receiver_0": listener}
        plans = [Plan(f"e{i}", seats, 1, {"case": i % 2}, greedy=True) for i in range(8)]
        replay = Replay(here, seats, [episode.log for episode in collect(here, plans)])
        assert np.mean([episode.score for episode in replay.base]) == score
        gap = replacement.paraphrase(replay)
        assert gap.note == "8 messages have another one"
        assert gap.value == loss  # who knows one of two words gains by a paraphrase as often as it loses
        interval = gap.interval
        assert interval is not None
        assert (interval.high > 0) == (listener is knows_one)


def test_a_rewriter_can_be_named() -> None:
    REWRITERS["upside down"] = lambda symbols, alphabet, seed: tuple(f"m{3 - int(s[1])}" for s in symbols)
    try:
        seats, logs = games(world("lewis"), SPEAKER, LISTENER)
        replay = Replay(world("lewis"), seats, logs)
        assert replacement.paraphrase(replay).undefined.startswith("no speaker has two messages for one meaning")
        assert replacement.paraphrase(replay, by="upside down").value == 1
    finally:
        del REWRITERS["upside down"]


def test_roles_can_be_swapped_where_replies_are_the_same() -> None:
    here = world("matrix", arena={"game": "stag_hunt"})
    first, second = here.agents
    options = here.arena.replies[first][0].places[0]
    seats: dict[str, Policy] = {
        first: Scripted(lambda heard, spec: options[0]),
        second: Scripted(lambda heard, spec: options[0]),
    }
    logs = [collect(here, [Plan("e", seats, 1, greedy=True)])[0].log]
    measure = replacement.role_swap(Replay(here, seats, logs))
    assert measure.value == 0
    assert list(measure.parts) == [f"{first}, {second}"]
    shared: dict[str, Policy] = dict.fromkeys(here.agents, seats[first])
    assert replacement.role_swap(Replay(here, shared, logs)).undefined.startswith("no two seats have the same replies")


def test_an_eavesdropper_gains_what_its_own_return_says() -> None:
    """c_0 is paid where it guesses the secret of the next player; only an overheard message tells it."""
    here = world(
        "chat",
        arena={"rounds": 1, "least": 0},
        topology={"type": "edges", "edges": [["a_0", "b_0"]]},
        channel=[{"type": "eavesdrop", "seat": "c_0"}],
    )
    talk = Scripted(
        lambda heard, spec: ("m1" if heard[-1].body.endswith("x1") else "m0") if spec.kind == "say" else "x0"
    )

    def spy(heard: list[object], spec: object) -> str:
        if spec.kind == "say":  # type: ignore[attr-defined]
            return ""
        overheard = [e.body for e in heard if e.sender == "a_0"]  # type: ignore[attr-defined]
        return "x1" if overheard and overheard[-1] == "m1" else "x0"

    seats: dict[str, Policy] = {"a_0": talk, "b_0": talk, "c_0": Scripted(spy)}  # type: ignore[arg-type]
    plans = [Plan(f"e{case}", seats, 1, {"case": case}, greedy=True) for case in range(here.arena.cases)]
    logs = [episode.log for episode in collect(here, plans)]
    measures = {measure.name: measure for measure in replacement.measures(Replay(here, seats, logs))}
    gained = measures["eavesdropping c_0"]
    assert gained.unit == "return"
    assert gained.value is not None
    assert gained.value > 0.5  # 3 where the secret is x1, which is half of the deals, less what its own secret costs


def test_a_listener_that_does_as_it_is_told_is_measured_in_every_way() -> None:
    here = world("lewis")
    seats, logs = games(here, SPEAKER, LISTENER)
    trials = causal.trials(here, seats, logs)
    (effect,) = [influence.effect() for influence in causal.influences(trials)]
    value = {name: measure.value for name, measure in effect.measures.items()}
    assert value["cic"] == pytest.approx(2)
    assert value["social_influence"] == pytest.approx(2)
    assert (value["listening_lost"], value["listening_shuffled"]) == (0.75, 0.75)  # s0 is its guess in the dark
    assert value["message_gap"] == 0.75
    assert effect.measures["listening_swapped"].undefined == "there is no third seat"
    assert effect.measures["cic"].n == 4
    for measure in effect.measures.values():
        assert measure.value is None or (
            measure.interval is not None and "bootstrap over 4 messages" in measure.interval.of
        )
    credit = causal.message_credit(trials)
    assert [message.message for message in credit] == ["m0", "m1", "m2", "m3"]
    assert {(message.score, message.without, message.credit) for message in credit} == {(1.0, 0.25, 0.75)}


def test_a_policy_that_ignores_messages_has_no_influence_at_all() -> None:
    here = world("lewis")
    seats, logs = games(here, SPEAKER, DEAF)
    trials = causal.trials(here, seats, logs)
    (effect,) = [influence.effect() for influence in causal.influences(trials)]
    names = (
        "cic",
        "cic_uniform",
        "social_influence",
        "flip_rate",
        "listening_lost",
        "listening_shuffled",
        "message_gap",
    )
    assert [effect.measures[name].value for name in names] == [0] * len(names)
    assert {credit.credit for credit in causal.message_credit(trials)} == {0}


def test_social_influence_counts_a_message_that_is_not_among_those_tried() -> None:
    here = world("lewis", arena={"n": 8, "k": 8})
    seats, logs = games(here, SPEAKER, LISTENER)
    (effect,) = [
        influence.effect() for influence in causal.influences(causal.trials(here, seats, logs, alternatives=4))
    ]
    # 4 of 8 messages are tried. Those among them: log2 4. The others: one of five.
    assert effect.measures["social_influence"].value == pytest.approx((4 * 2 + 4 * log2(5)) / 8)
    assert effect.measures["social_influence"].n == 8


def test_the_name_on_a_message_can_matter() -> None:
    here = world("chat", arena={"players": 3, "rounds": 1})

    def by_name(heard: list[object], spec: object) -> str:
        if spec.kind == "say":  # type: ignore[attr-defined]
            return "m1"
        senders = [e.sender for e in heard if e.kind == "say"]  # type: ignore[attr-defined]
        return "x1" if senders.count("b_0") > 1 else "x0"

    seats: dict[str, Policy] = dict.fromkeys(here.agents, Scripted(by_name))  # type: ignore[arg-type]
    logs = [collect(here, [Plan("e", seats, 1, greedy=True)])[0].log]
    effects = {(e.speaker, e.listener): e.effect() for e in causal.influence(here, seats, logs)}
    assert effects["a_0", "c_0"].measures["listening_swapped"].value == 1  # as if b_0 had spoken twice
    assert effects["b_0", "c_0"].measures["listening_swapped"].value == 0
    assert effects["a_0", "c_0"].measures["listening_shuffled"].value == 0


@pytest.mark.parametrize("name", ["chat", "chat, all effects", "chat with channels", "matrix with a deadline"])
def test_every_world_can_be_played_again(name: str) -> None:
    here = world(**WORLDS[name])
    seats = seated(here)
    logs = [episode.log for episode in played(here, seats, 2)]
    before = [log.to_bytes() for log in logs]
    for measure in replacement.measures(Replay(here, seats, logs)):
        assert measure.value is None or np.isfinite(measure.value)
    assert [log.to_bytes() for log in logs] == before


def test_a_policy_that_fails_is_reported() -> None:
    here = world("lewis")
    seats, logs = games(here, SPEAKER, LISTENER)

    def fail(heard: object, spec: object) -> str:
        raise KeyError("no such word")

    with pytest.raises(UserError, match="the replay of episode e0 failed: receiver_0: KeyError"):
        Replay(here, seats | {"receiver_0": Scripted(fail)}, logs)
