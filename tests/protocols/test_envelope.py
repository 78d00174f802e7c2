from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from protocols.envelope import MAX_BYTES, Envelope, Kind
from protocols.errors import ProtocolError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
ENVELOPES = st.builds(
    Envelope,
    episode=st.text(max_size=8),
    sender=st.text(max_size=8),
    n=st.integers(0, 10**6),
    kind=st.sampled_from(Kind),
    to=st.text(max_size=8),
    seq=st.integers(-1, 10**6),
    time=st.floats(0, 1e9),
    body=st.text(max_size=40),
    data=st.dictionaries(st.text(max_size=4), JSON, max_size=3),
    reply_to=st.none() | st.integers(),
)


def envelope(**fields: Any) -> Envelope:
    return Envelope(**{"episode": "0", "sender": "a_0", "n": 0, "kind": Kind.SAY, **fields})


@given(ENVELOPES)
def test_json_round_trip(one: Envelope) -> None:
    raw = one.to_json()
    assert Envelope.from_json(raw) == one
    assert Envelope.from_json(raw.decode()) == one
    assert Envelope.from_json(raw).to_json() == raw


def test_what_is_default_is_not_written() -> None:
    assert envelope().to_json() == b'{"episode":"0","sender":"a_0","n":0,"kind":"say"}'


def test_numbers_that_are_not_finite_stay_what_they_are() -> None:
    data = Envelope.from_json(envelope(data={"x": [float("inf"), float("nan")]}).to_json()).data
    assert data["x"][0] == float("inf")
    assert data["x"][1] != data["x"][1]


def test_identity() -> None:
    assert envelope(n=3).id == "0/a_0/3"


def test_an_envelope_cannot_be_changed_and_shares_no_data() -> None:
    one, other = envelope(), envelope()
    with pytest.raises(AttributeError):
        one.body = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        one.data["x"] = 1  # type: ignore[index]
    assert one.data == other.data == {}


@given(ENVELOPES)
def test_copies_and_pickles_are_equal(one: Envelope) -> None:
    assert copy.deepcopy(one) == one
    assert pickle.loads(pickle.dumps(one)) == one
    assert copy.deepcopy(envelope()) == envelope()


@pytest.mark.parametrize(
    "fields",
    [{"n": -1}, {"seq": -2}, {"time": -1.0}, {"time": float("inf")}, {"time": float("nan")}, {"kind": "shout"}],
)
def test_fields_out_of_range(fields: dict[str, Any]) -> None:
    good = {"episode": "0", "sender": "a_0", "n": 0, "kind": "say"}
    assert Envelope.checked(**good).kind is Kind.SAY
    with pytest.raises(ValidationError):
        Envelope.checked(**good | fields)
    with pytest.raises(ProtocolError, match=f"not an envelope: {next(iter(fields))}: "):
        Envelope.from_json(json.dumps(good | fields))


def test_size_bound() -> None:
    overhead = len(envelope(body="x").to_json()) - 1
    largest = envelope(body="x" * (MAX_BYTES - overhead))
    assert Envelope.from_json(largest.to_json()) == largest
    with pytest.raises(ProtocolError, match=rf"0/a_0/0 has {MAX_BYTES + 1} bytes; the limit is {MAX_BYTES}"):
        envelope(body="x" * (MAX_BYTES - overhead + 1)).to_json()
    raw = envelope().to_json()
    with pytest.raises(ProtocolError, match="is too long"):
        Envelope.from_json(raw + b" " * (MAX_BYTES - len(raw) + 1))


def test_the_size_bound_counts_bytes_of_text() -> None:
    text = envelope(body="x").to_json().decode().replace("x", "é" * (MAX_BYTES // 2))
    assert len(text) < MAX_BYTES
    with pytest.raises(ProtocolError, match="is too long"):
        Envelope.from_json(text)


GOOD = {"episode": "0", "sender": "a_0", "n": 0, "kind": "say"}
BAD: dict[str, tuple[bytes | str, str]] = {
    "empty": (b"", "Invalid JSON"),
    "garbage": (b"\x00\xff\xfe", "Invalid JSON"),
    "text": ("hello", "Invalid JSON"),
    "half a surrogate pair": ('{"body": "\ud800"}', "JSON"),
    "cut off": (json.dumps(GOOD)[:-5], "Invalid JSON"),
    "too deep": ('{"data":' + "[" * 10_000, "recursion limit"),
    "a list": (b"[]", "the whole: Input should be an object"),
    "another schema": (json.dumps(GOOD | {"v": 2}), "v: Input should be 1"),
    "an extra field": (json.dumps(GOOD | {"colour": "red"}), "colour: Extra inputs"),
    "a missing field": (b'{"episode": "0"}', "sender: Field required"),
    "an unknown kind": (json.dumps(GOOD | {"kind": "shout"}), "kind: Input should be 'view'"),
    "a wrong type": (json.dumps(GOOD | {"data": 3}), "data: Input should be"),
    "a wrong number": (json.dumps(GOOD | {"n": -1}), "n: Input should be greater"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_envelope_is_refused_in_one_sentence(case: str) -> None:
    raw, cause = BAD[case]
    with pytest.raises(ProtocolError) as caught:
        Envelope.from_json(raw)
    sentence = str(caught.value)
    assert sentence.startswith("not an envelope: ")
    assert cause in sentence
    assert "\n" not in sentence
    assert caught.value.__suppress_context__


@given(st.binary(max_size=64) | st.text(max_size=64) | JSON.map(json.dumps))
def test_garbage_raises_nothing_else(raw: bytes | str) -> None:
    with pytest.raises(ProtocolError):
        Envelope.from_json(raw)


@pytest.mark.parametrize("fields", [{"data": {"x": object()}}, {"data": {"x": "\ud800"}}, {"body": "\ud800"}])
def test_what_json_cannot_hold_is_refused_by_name(fields: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match="envelope '0/a_0/0' does not fit into JSON: "):
        envelope(**fields).to_json()


def test_a_listener_receives_nothing_but_the_words() -> None:
    """Sampled tokens would give away what the channel garbled, and are a channel of their own."""
    data = {"seen": 1, "tokens": [83, 69], "version": 7, "usage": {"the state is s3": 1.0}, "thought": "s3", "price": 2}
    said = Envelope("e0", "a_0", 4, Kind.SAY, "side", 9, 1.5, "m0", data, reply_to=8)
    for heard in (said.as_heard("m3"), said.as_heard("m0"), said.as_heard("m3", copy=2), said.as_heard("m3", 1, "b_0")):
        wire = json.loads(heard.to_json())
        assert wire.keys() == {"episode", "sender", "n", "kind", "to", "seq", "time", "body"}
    assert said.as_heard("m0") == said._replace(data={}, reply_to=None)
    ids = {said.as_heard("m3", copy, sender).id for copy in range(3) for sender in ("", "b_0", "c_0")}
    assert len(ids) == 9
