from __future__ import annotations

from collections import Counter

import pytest

from marl.evaluation import log_lines
from marl.policy.scripted import Random, Scripted
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.scenario.world import World
from marl.study.data import corpus, lexicon
from marl.study.data.lexicon import Utterance
from marl.study.data.result import Language
from marl.study.language import summary as language
from protocols.envelope import Kind
from tests.marl.worlds import WORLDS, played, seated, world

COMPOSITIONAL = Scripted(lambda heard, spec: heard[-1].body.replace("object ", "").replace("a", "m").replace("b", "m"))
"""The speaker of reconstruction says m2 m3 for a2 b3."""


def all_deals(here: World, speaker: Scripted, listener: Scripted) -> list[Utterance]:
    seats = dict(zip(here.agents, (speaker, listener), strict=True))
    plans = [Plan(f"e{case}", seats, 1, {"case": case}) for case in range(here.arena.cases)]
    return lexicon.utterances(episode.log for episode in collect(here, plans))


def spoken() -> list[Utterance]:
    here = world("reconstruction", arena={"values": 4, "length": 2, "alphabet": 4})
    listener = Scripted(
        lambda heard, spec: " ".join(k + m[1] for k, m in zip("ab", heard[0].body.split(), strict=True))
    )
    return all_deals(here, COMPOSITIONAL, listener)


def test_an_utterance_has_its_meaning_message_and_answer() -> None:
    utterances = spoken()
    assert len(utterances) == 16
    first = utterances[6]
    assert (first.speaker, first.place) == ("speaker_0", 0)
    assert (first.meaning, first.message) == ("object a1 b2", ("m1", "m2"))
    assert first.answers == {"listener_0": "a1 b2"}
    assert first.log.entries[first.seq].envelope.kind is Kind.SAY


def test_the_code_is_a_table_in_natural_order() -> None:
    here = world("lewis", arena={"n": 12, "k": 12})
    utterances = all_deals(
        here, Scripted(lambda heard, spec: "m" + heard[-1].body[7:]), Scripted(lambda heard, spec: "s1")
    )
    rows = lexicon.rows(utterances)
    assert [row.meaning for row in rows] == [f"state s{i}" for i in range(12)]
    assert rows[10].messages == Counter({("m10",): 1})
    assert rows[10].answers == Counter({"s1": 1})
    assert [row.score for row in rows] == [0, 1, *[0] * 10]


def test_attributes_are_the_words_that_vary() -> None:
    assert lexicon.attributes(["object a0 b3", "object a1 b3", "object a0 b2"]) == [
        ("a0", "b3"),
        ("a1", "b3"),
        ("a0", "b2"),
    ]
    assert lexicon.attributes(["round t0", "round t1 last x"]) == [("round t0",), ("round t1 last x",)]
    assert lexicon.attributes(["same"]) == [()]


def measured(found: list[Utterance]) -> Language:
    return language.measure(corpus.samples(found), permutations=50)


def test_a_compositional_code_is_measured_as_one() -> None:
    language = measured(spoken())
    value = {name: measure.value for name, measure in language.measures.items()}
    assert (language.samples, value["meanings"], value["messages"]) == (16, 16, 16)
    assert (value["ambiguous"], value["synonyms"]) == (0, 0)
    assert value["entropy"] == pytest.approx(4)
    assert language.measures["entropy"].parts == pytest.approx({"1": 2, "2": 2})
    assert value["mutual_information"] == pytest.approx(4)
    assert language.measures["mutual_information"].null is None  # every meaning occurs once: I(X; M) is H(M)
    assert [[measure.value for measure in row.values()] for row in language.positions] == [
        pytest.approx([2, 0]),
        pytest.approx([0, 2]),
    ]
    similarity = language.measures["topographic_similarity"].null
    assert similarity is not None
    assert similarity.p < 0.05
    assert value["positional_disentanglement"] == pytest.approx(1)


def test_a_constant_code_says_nothing() -> None:
    here = world("reconstruction", arena={"values": 3})
    language = measured(
        all_deals(here, Scripted(lambda heard, spec: "m0 m0 m0"), Scripted(lambda heard, spec: "a0 b0"))
    )
    assert (language.measures["messages"].value, language.measures["ambiguous"].value) == (1, 9)
    assert language.measures["entropy"].value == 0
    for name in ("topographic_similarity", "positional_disentanglement"):
        assert language.measures[name].undefined == "all messages are the same"


def test_a_random_speaker_shares_no_information_once_corrected() -> None:
    here = world("lewis", arena={"n": 4, "k": 8})
    seats = {"sender_0": Random(), "receiver_0": Random()}
    language = measured(lexicon.utterances(e.log for e in played(here, seats, 400)))
    assert language.measures["synonyms"].value == 4
    assert language.measures["entropy"].value == pytest.approx(3, abs=0.05)
    information = language.measures["mutual_information"]
    assert information.value == pytest.approx(0, abs=0.05)
    assert information.null is not None
    assert information.null.p > 0.05


def test_a_message_that_comes_too_late_has_no_answer() -> None:
    here = world("lewis", channel=[{"type": "delay", "seconds": 60}])
    seats = {"sender_0": Random(), "receiver_0": Random()}
    (utterance,) = lexicon.utterances([played(here, seats, 1)[0].log])
    assert utterance.answers == {}


@pytest.mark.parametrize("name", WORLDS)
def test_answers_are_the_first_replies_formed_after_hearing(name: str) -> None:
    here = world(**WORLDS[name])
    for episode in played(here, seated(here), 2):
        for utterance in lexicon.utterances([episode.log]):
            heard = {h.to for h in episode.log.entries[utterance.seq].heard if h.body is not None}
            assert set(utterance.answers) <= heard
            for listener, number in lexicon.answering(episode.log, utterance.seq).items():
                replies = list(episode.log.replies(listener))
                order = [envelope.seq for envelope in episode.log.view(listener)]
                after = order.index(utterance.seq)
                assert [order.index(reply.seq) > after for reply in replies[: number + 1]] == [False] * number + [True]
                assert lexicon.reply(episode.log, listener, number) == replies[number].body


def test_speakers_and_places_are_kept_apart() -> None:
    here = world("chat", arena={"rounds": 2})
    utterances = lexicon.utterances(e.log for e in played(here, seated(here), 3))
    groups = lexicon.by_speaker(utterances)
    assert set(groups) == {(seat, place) for seat in here.agents for place in (0, 1)}
    assert sum(map(len, groups.values())) == len(utterances)


@pytest.mark.parametrize("name", WORLDS)
def test_a_conversation_tells_every_reply_and_the_score(name: str) -> None:
    here = world(**WORLDS[name])
    for episode in played(here, seated(here), 2):
        lines = [line for line in log_lines.lines(episode.log) if line.who != "nobody"]  # but an injection's
        acts = (*log_lines.ACTS.values(), "misses the deadline")
        assert sum(line.act in acts for line in lines) == len(episode.turns)
        assert sum(line.act == "is shown" for line in lines) == len(episode.turns)
        assert log_lines.score(episode.log) == pytest.approx(episode.score)
        assert list(log_lines.returns(episode.log).values()) == pytest.approx(episode.returns)
        differing = [
            (envelope.seq, h.to)
            for envelope, heard in episode.log.entries
            for h in heard
            if h.body != envelope.body or h.time != envelope.time or h.sender
        ]
        assert [(line.seq, line.who) for line in lines if line.act.startswith("hears")] == differing
