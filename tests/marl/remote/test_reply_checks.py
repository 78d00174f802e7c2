"""Of what a seat says of a reply that is trained on, only the words are taken."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenas.spec import Words, matching, say
from marl.episode import Sample
from marl.remote.reply_checks import MOST_ILLEGAL, ReplyChecks
from protocols.envelope import Envelope, Kind
from protocols.errors import ProtocolError

SPEC = say(("m0", "m1"), 2, least=1)
TRUE: dict[str, Any] = {"tokens": [11, 10, 2], "logprobs": [-0.5, -0.25, 0.0], "version": 3}


def spell(words: Words) -> tuple[int, ...]:
    return (*[10 + int(word[1:]) for word in words], 2)


def read(body: str, data: dict[str, Any], spec: Any = SPEC, trained: bool = True) -> tuple[Sample, str, ReplyChecks]:
    checks = ReplyChecks({"a_0": spell} if trained else {})
    view = Envelope("e0", "referee", 1, Kind.VIEW, "a_0", 7, data={"reply": spec.wire, "seed": 5})
    sample, wrong = checks.read("a_0", view, Envelope("e0", "a_0", 0, Kind.SAY, body=body, data=data), 3)
    return sample, wrong, checks


def test_a_true_reply_is_taken_and_its_logprobs_are_kept_for_comparison() -> None:
    sample, wrong, checks = read("m1 m0", TRUE)
    assert (sample, wrong) == (Sample("m1 m0", (11, 10, 2), (0.0, 0.0, 0.0), 3), "")
    assert checks.records == {("e0", "a_0", 7): (5, (-0.5, -0.25, 0.0))}
    assert not checks.untrue


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"tokens": [10, 10, 2]}, "the tokens [10, 10, 2] do not spell 'm1 m0'"),
        ({"tokens": [0, 0, 0]}, "the tokens [0, 0, 0] do not spell 'm1 m0'"),
        ({"tokens": [11] * 9, "logprobs": [-1.0] * 9}, "the tokens [11, 11, 11, 11, 11, 11, 11, 11, ...] do not spell"),
        ({"tokens": []}, "3 logprobs for 0 tokens"),
        ({"tokens": [], "logprobs": []}, "no tokens"),
        ({"logprobs": []}, "0 log-probabilities of 3 tokens"),
        ({"logprobs": [-0.5, -0.1]}, "2 logprobs for 3 tokens"),
        ({"logprobs": [-0.5, -0.1, 1e-9]}, "data.logprobs.2: Input should be less than or equal to 0"),
        ({"logprobs": [-0.5, -0.1, float("-inf")]}, "data.logprobs.2: Input should be a finite number"),
        ({"version": 2**31 - 1}, "version 2147483647 of the weights, where 3 is the one published"),
        ({"version": 2}, "version 2 of the weights, where 3 is the one published"),
        ({"thinking": 4}, "a thought or a usage"),
        ({"usage": {"the state is s3": 1.0}}, "a thought or a usage"),
        ({"seen": 0}, "data.seen: Extra inputs are not permitted"),
    ],
)
def test_lies_are_named_and_change_nothing(change: dict[str, Any], wrong: str) -> None:
    sample, why, checks = read("m1 m0", TRUE | change)
    assert sample == Sample("m1 m0", (11, 10, 2), (0.0, 0.0, 0.0), 3)
    assert wrong in why
    assert checks.untrue == {"a_0": 1}
    assert checks.first["a_0"] == f"{why} (episode e0, view 7)"


def test_white_space_is_joined_to_words() -> None:
    assert read(" m1 \t\nm0 ", TRUE)[0].text == "m1 m0"


@pytest.mark.parametrize("body", ["zzz", "", "m0 m1 m0", "m1 <eos>", "m" * 10**6])
def test_an_illegal_reply_is_text_without_tokens(body: str) -> None:
    sample, wrong, checks = read(body, TRUE)
    assert sample == Sample(body[:MOST_ILLEGAL], version=3)
    assert "which no tokens spell" in wrong
    assert read(body, {})[1] == ""  # a turn used badly is no lie
    assert not checks.records


def test_free_text_beside_the_listed_words_is_legal_and_has_no_tokens() -> None:
    spec = matching("m[0-9]", ("m0", "m1"), free=9, kind="say")
    assert read("m7", {}, spec)[0] == Sample("m7", version=3)
    assert read("m1", {}, spec)[0].tokens == (11, 2)


def test_a_seat_that_is_not_trained_on_keeps_its_own_data() -> None:
    assert read("m1 m0", TRUE, trained=False)[0] == Sample("m1 m0", (11, 10, 2), (-0.5, -0.25, 0.0), 3)
    with pytest.raises(ProtocolError, match="2 logprobs for 3 tokens"):
        read("m1 m0", TRUE | {"logprobs": [-1.0, -1.0]}, trained=False)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)
DATA = st.dictionaries(st.sampled_from([*TRUE, "finish", "usage", "thought", "thinking"]) | st.text(max_size=5), ANY)


@given(st.sampled_from(["m0", "m1 m0", "m0 m1"]) | st.text(max_size=12), DATA)
def test_the_sample_is_a_function_of_the_words(body: str, data: dict[str, Any]) -> None:
    sample, wrong, checks = read(body, json.loads(json.dumps(data)))
    assert sample == read(body, {})[0]
    assert checks.untrue.total() == bool(wrong)
