"""Reply specs: numbering, parsing and the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arenas import ArenaError, ReplySpec
from arenas.spec import ATTRIBUTES, choose, fill, from_wire, objects, say, symbols

WORD = st.text("ab:0-é", min_size=1, max_size=2)
PLACE = st.lists(WORD, min_size=1, max_size=4, unique=True).map(tuple)


@st.composite
def specs(draw: st.DrawFn) -> ReplySpec:
    places = tuple(draw(st.lists(PLACE, max_size=4)))
    if draw(st.booleans()):
        places = places[:1] * len(places)
    return ReplySpec(places, draw(st.sampled_from(["say", "move"])), draw(st.integers(-1, len(places))))


@given(specs())
@settings(deadline=None, max_examples=60)
def test_replies_are_numbered_without_gaps(spec: ReplySpec) -> None:
    replies = [spec.words(i) for i in range(spec.size)]
    assert len(set(replies)) == spec.size
    assert [spec.index(reply) for reply in replies] == list(range(spec.size))
    assert [spec.parse(" ".join(reply)) for reply in replies] == replies
    assert {word for reply in replies for word in reply} == set(spec.alphabet)
    assert sorted(map(len, replies)) == list(map(len, replies)), "shorter replies come first"
    assert {len(reply) for reply in replies} == set(range(spec.least, len(spec.steps) + 1))
    assert spec.default == replies[0]


@given(specs())
@settings(deadline=None, max_examples=60)
def test_wire_round_trip(spec: ReplySpec) -> None:
    assert from_wire(json.loads(json.dumps(spec.wire))) == spec
    assert spec.describe().startswith(f"{spec.kind}s ")


@given(specs(), st.lists(WORD, max_size=5), st.sampled_from([" ", "  ", "\n", " \t"]))
@settings(deadline=None, max_examples=100)
def test_parse_takes_what_words_gives_and_nothing_else(spec: ReplySpec, words: list[str], space: str) -> None:
    legal = tuple(words) in {spec.words(i) for i in range(spec.size)}
    assert spec.parse(space.join(words)) == (tuple(words) if legal else None)


@pytest.mark.parametrize("index", [-1, 8, 10**30])
def test_there_is_no_such_reply(index: int) -> None:
    with pytest.raises(ArenaError, match="from 0 to 7"):
        say(symbols("m", 2), 3).words(index)


def test_last_place_counts_fastest_and_silence_is_first() -> None:
    spec = say(("a", "b"), 2, least=0)
    assert [spec.words(i) for i in range(spec.size)] == [
        (),
        ("a",),
        ("b",),
        ("a", "a"),
        ("a", "b"),
        ("b", "a"),
        ("b", "b"),
    ]
    assert spec.parse("") == () == spec.default


def test_large_specs_are_numbered_without_being_listed() -> None:
    spec = say(symbols("m", 50), 40)
    assert spec.size == 50**40
    assert spec.index(spec.words(50**40 - 7)) == 50**40 - 7


def test_makers() -> None:
    assert choose(("a", "b")) == ReplySpec((("a", "b"),), "move", 1)
    assert fill(("a",), ("b", "c")).size == 2
    assert say(("a",), 3, 1).least == 1
    assert say(("a",), 3, 1).describe() == "says 1 to 3 of: a"
    assert fill(("a", "b"), ("c", "d")).describe() == "moves 2 words: a|b, then c|d"
    assert choose(("a",)).wire == {"words": ("a",), "places": 1, "kind": "move"}


def test_objects_name_every_attribute_with_words_of_its_own() -> None:
    space = objects(3, 4)
    assert space.size == 64
    assert len(space.alphabet) == 12
    assert space.words(27) == ("a1", "b2", "c3")
    assert objects(len(ATTRIBUTES), 2).size == 2 ** len(ATTRIBUTES)
    with pytest.raises(ArenaError, match=r"objects need 1 to 12 attributes and values >= 2, not attributes=13"):
        objects(13, 2)


@pytest.mark.parametrize(
    ("steps", "kind", "least", "message"),
    [
        ((("a", "a"),), "move", -1, "distinct words at each place"),
        (((),), "move", -1, "distinct words at each place"),
        ((("a",),), "move", 2, "0 <= least <= 1"),
        ((("a b",),), "move", -1, "words without spaces, not 'a b'"),
        ((("",),), "move", -1, "words without spaces, not ''"),
        ((("a",),), "sing", -1, "of kind say or move, not 'sing'"),
    ],
)
def test_a_spec_that_cannot_work(steps: Any, kind: Any, least: int, message: str) -> None:
    with pytest.raises(ArenaError, match=message):
        ReplySpec(steps, kind, least)


@pytest.mark.parametrize(
    "wire",
    [
        {},
        {"words": ["a"], "kind": "move"},
        {"words": ["a"], "places": "many", "kind": "move"},
        {"words": ["a"], "places": 1},
        {"words": ["a"], "places": 1, "kind": "sing"},
        {"steps": 3, "kind": "say"},
        {"steps": [["a", "a"]], "kind": "say"},
        [],
        None,
    ],
    ids=str,
)
def test_not_a_spec_on_the_wire(wire: Any) -> None:
    with pytest.raises(ArenaError, match="not a reply spec"):
        from_wire(wire)
