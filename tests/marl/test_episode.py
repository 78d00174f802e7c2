"""Samples survive the way through envelopes, logs and journals with every field."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from marl.episode import MISSING, Finish, Sample
from protocols.envelope import Envelope, Kind

LOGPROB = st.floats(max_value=0.0, allow_infinity=False)
COUNT = st.integers(0, 2**31 - 1)
SAMPLES = st.builds(
    Sample,
    text=st.text(),
    tokens=st.lists(COUNT).map(tuple),
    behavior_logprobs=st.lists(LOGPROB).map(tuple),
    version=COUNT,
    finish=st.sampled_from([Finish.STOP, Finish.LENGTH]),
    usage=st.dictionaries(st.sampled_from(["prompt", "completion", "cost"]), st.floats(0.0, 1e9)),
    thought=st.text(),
    thinking=COUNT,
)


@given(SAMPLES)
def test_a_sample_survives_its_envelope(sample: Sample) -> None:
    envelope = Envelope("e", "a", 0, Kind.SAY, body=sample.text, data=sample.to_data())
    assert Sample.from_data(envelope.body, envelope.data) == sample
    encodable = sample.text.encode(errors="ignore").decode(), sample.thought.encode(errors="ignore").decode()
    if encodable == (sample.text, sample.thought):
        received = Envelope.from_json(envelope.to_json())
        assert Sample.from_data(received.body, received.data) == sample


@given(SAMPLES)
def test_a_sample_survives_json_beside_other_keys(sample: Sample) -> None:
    data = json.loads(json.dumps({"seen": 3, **sample.to_data(), "price": 0.5, "legal": False}))
    assert Sample.from_data(sample.text, data) == sample


def test_a_missing_reply_survives() -> None:
    assert Sample.from_data("", MISSING.to_data()) == MISSING


def test_defaults_are_left_out() -> None:
    assert Sample("m1").to_data() == {}
    assert Sample("m1", (4, 2)).to_data() == {"tokens": (4, 2), "version": 0}
    assert Sample("m1", thinking=2).to_data() == {"thought": "", "thinking": 2}
