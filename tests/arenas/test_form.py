"""Replies that have a form: what is legal, what agents with a small vocabulary choose from, and what is refused."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from arenas import ArenaError, ReplySpec
from arenas.form import shape, value
from arenas.spec import from_wire, matching, structured


class Thing(BaseModel):
    name: Literal["hat", "big ball"]
    count: int = Field(gt=0, lt=4)


class Offer(BaseModel):
    things: list[Thing] = Field(min_length=1, max_length=2)
    why: str = Field(max_length=12, examples=["fair", "my turn"])
    final: bool
    price: int | None = Field(None, ge=-3, le=1000)


TEXT = st.text('ab "\\é', max_size=4).filter(lambda text: text == " ".join(text.split()))
LEAF: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.lists(st.one_of(TEXT, st.integers(-5, 5), st.none(), st.booleans()), min_size=1, max_size=3).map(
        lambda values: {"enum": values}
    ),
    st.tuples(st.integers(-900, 0), st.integers(0, 900)).map(
        lambda ends: {"type": "integer", "minimum": ends[0], "exclusiveMaximum": ends[1] + 1}
    ),
    st.lists(TEXT, min_size=1, max_size=2).map(lambda some: {"type": "string", "maxLength": 4, "examples": some}),
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"const": "x y"}]),
)
SCHEMAS: st.SearchStrategy[dict[str, Any]] = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from(["a", "b c", "é"]), inner, min_size=1, max_size=2).map(
            lambda parts: {"type": "object", "properties": parts}
        ),
        st.tuples(inner, st.integers(0, 2), st.integers(0, 1)).map(
            lambda each: {"type": "array", "items": each[0], "minItems": each[1], "maxItems": each[1] + each[2]}
        ),
        st.lists(inner, min_size=1, max_size=2).map(lambda options: {"anyOf": options}),
    ),
    max_leaves=4,
)


@given(SCHEMAS, st.integers(0, 10**6))
@settings(deadline=None, max_examples=60)
def test_what_small_agents_can_reply_is_of_the_schema(schema: dict[str, Any], number: int) -> None:
    spec = structured(schema)
    words = spec.words(number % spec.size)
    assert spec.parse(" ".join(words)) == words
    compact = json.dumps(value(words), ensure_ascii=False, separators=(",", ":"))
    assert len(compact) <= shape(spec.schema).longest
    assert spec.parse(compact) is not None
    assert all(word.isascii() for word in spec.alphabet)
    assert from_wire(json.loads(json.dumps(spec.wire))) == spec
    narrow = structured(shape(spec.schema).narrow, *spec.steps)
    assert narrow.parse(" ".join(words)) is not None, "what models sample is a part of what small agents say"


@given(st.integers(0, 10**9))
@settings(deadline=None, max_examples=30)
def test_a_model_of_pydantic_reads_what_its_spec_allows(number: int) -> None:
    spec = structured(Offer)
    offer = Offer.model_validate(value(spec.words(number % spec.size)))
    assert spec.parse(offer.model_dump_json()) is not None
    assert offer.things[0].name in ("hat", "big ball")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nothing",
        "[" * 100,
        '{"things":[],"why":"","final":true}',
        '{"things":[{"name":"hat","count":4}],"why":"","final":true}',
        '{"things":[{"name":"hat","count":NaN}],"why":"","final":true}',
        '{"things":[{"name":"hat","count":1}],"why":"thirteen long","final":true}',
        '{"things":[{"name":"hat","count":1}],"why":"","final":"yes"}',
        '{"things":[{"name":"hat","count":1}],"why":"","final":true} yes',
    ],
)
def test_what_is_not_of_the_schema_is_not_legal(text: str) -> None:
    assert structured(Offer).parse(text) is None


def test_white_space_counts_as_one_space_and_properties_with_defaults_may_be_left_out() -> None:
    spec = structured(Offer)
    words = spec.parse('{ "things":  [{"name": "hat", "count": 1}],   "why": "so   so", "final": true }')
    assert words is not None
    assert value(words)["why"] == "so so"
    talk = matching("[a-z]+( [a-z]+)*", ("yes", "no"), free=12, kind="say", least=0)
    assert talk.parse("  not   yet ") == ("not", "yet")
    assert talk.parse("") == ()
    assert (talk.parse("Yes"), talk.parse("much too long")) == (None, None)
    assert talk.describe() == "says text that matches [a-z]+( [a-z]+)* of at most 12 characters"


ANY = {"type": "boolean"}
DOUBLING = {
    "$ref": "#/$defs/a40",
    "$defs": {
        "a0": {"const": 1},
        **{f"a{i}": {"anyOf": [{"$ref": f"#/$defs/a{i - 1}"}] * 2} for i in range(1, 41)},
    },
}
WIDE = {"type": "integer", "minimum": 0, "maximum": 10_000}


def test_of_an_integer_of_many_values_small_agents_have_some() -> None:
    spec = structured(WIDE)
    assert spec.steps[0][0] == "0"
    assert 128 <= len(spec.steps[0]) <= 256
    assert spec.parse("9999") == ("9999",)


@pytest.mark.parametrize(
    ("schema", "sentence"),
    [
        ({"type": "number"}, "the schema of the reply has the type 'number': give it enum"),
        ({}, "the schema of the reply has no type"),
        ({"type": "integer", "minimum": 0}, "an integer needs minimum and maximum, which are integers, so that every"),
        ({"type": "integer", "minimum": 0.5, "maximum": 2}, "an integer needs minimum and maximum, which are integers"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "no integer is at least 3 and at most 2"),
        ({"type": "string"}, "a string needs maxLength, or enum"),
        ({"type": "string", "maxLength": 3, "minLength": 1}, "a string needs examples, for agents with a small"),
        ({"type": "string", "maxLength": 3, "pattern": "a"}, "'pattern' is not supported"),
        ({"type": "array", "items": {"type": "null"}}, "an array needs maxItems, so that every reply has an end"),
        ({"type": "array", "maxItems": 3}, "an array needs items"),
        ({"type": "object"}, "an object needs properties"),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, "the schema of the reply.a: a string needs"),
        ({"enum": []}, "enum needs at least one value"),
        ({"enum": ["a"], "type": "null"}, "enum needs at least one value of the type"),
        ({"$ref": "http://127.0.0.1:9/schema.json"}, "must name one of $defs"),
        ({"$ref": "#/$defs/a", "items": True, "$defs": {"a": {"const": 1}}}, "'items' is not supported"),
        ({"type": "object", "properties": {"a": True}}, "the schema of the reply.a is true: give it a type"),
        ({"type": "object", "properties": {"a": ANY}, "additionalProperties": ANY}, "no schema of additional ones"),
        (
            {"type": "object", "properties": {"a": ANY}, "required": ["b"]},
            "the schema does not allow '{\"a\": false }'",
        ),
        ({"type": "array", "items": ANY, "minItems": 10**12, "maxItems": 10**12}, "minItems are too many for agents"),
        (DOUBLING, "is too large: with its references it has over"),
        ({"const": "two  spaces"}, "has white space at an end, twice"),
        ({"type": "nonsense"}, "this is no JSON schema: 'nonsense' is not valid"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "must name one of $defs that does not hold"),
    ],
)
def test_a_schema_beyond_what_is_known_is_refused_in_a_sentence(schema: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ArenaError) as refused:
        structured(schema)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_form_that_cannot_work_is_refused_in_a_sentence() -> None:
    with pytest.raises(ArenaError, match=r"the pattern '\(' is no regular expression: missing"):
        matching("(", ("a",), free=3)
    with pytest.raises(ArenaError, match="the pattern 'b' does not allow 'a' within 3 characters"):
        matching("b", ("a",), free=3)
    with pytest.raises(ArenaError, match="a form is one pattern or one schema, of free text"):
        ReplySpec((("a",),), pattern="a")
    with pytest.raises(ArenaError, match="leaves no room for the name of a channel"):
        ReplySpec((("x", "y"), ("a",)), "say", channels=("x", "y"), free=5, pattern="x a")
    with pytest.raises(ArenaError, match="a schema is JSON, and this is not"):
        ReplySpec((("1",),), free=5, schema="{")
    with pytest.raises(ArenaError, match="up to 5 characters: let free be as many, not 3"):
        structured(WIDE, free=3)
