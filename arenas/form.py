"""Forms of free replies: text that a regular expression matches, or JSON of a schema.

The form decides which replies are legal. Only a subset of JSON schema is supported, in which every reply is finite and
can be written in words by agents with a small vocabulary: `enum`, `const`, `boolean`, `null`, `integer` with `minimum`
and `maximum`, `string` with `maxLength`, `array` with `items` and `maxItems`, `object` with `properties`, `anyOf`, and
`$ref` into `$defs` without recursion.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, NoReturn

from arenas.errors import ArenaError

Json = dict[str, Any]
Places = tuple[tuple[str, ...], ...]
MOST: Final = 256
"""So many of an integer's values, evenly spaced, are words for agents with a small vocabulary."""
LARGEST: Final = 1 << 16
"""Characters of a schema in which every `$ref` is written out."""
LONGEST: Final = 1000
"""Words of a reply of agents with a small vocabulary."""
ANNOTATIONS: Final = {"title", "description", "default", "examples", "$schema", "$defs"}
KEYWORDS: Final[Mapping[str, set[str]]] = {
    "integer": {"type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "string": {"type", "minLength", "maxLength"},
    "array": {"type", "items", "minItems", "maxItems"},
    "object": {"type", "properties", "required", "additionalProperties"},
}


class Shape(NamedTuple):
    """What a schema allows."""

    places: Places
    """The options of each word of a reply in words, for agents with a small vocabulary."""
    longest: int
    """The most characters of a reply without white space between its parts."""
    narrow: Json
    """The schema in its simplest form: objects have all their properties and no others, and nothing is a `$ref`."""


@lru_cache(maxsize=1 << 10)
def regex(pattern: str) -> re.Pattern[str]:
    """Compile a Python regular expression; raises ArenaError for an invalid one."""
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ArenaError(f"the pattern {pattern!r} is no regular expression: {error}") from None


def matches(text: str, pattern: str, schema: str) -> bool:
    """Say whether text has a form; an empty pattern or schema asks for nothing."""
    if pattern and not regex(pattern).fullmatch(text):
        return False
    if not schema:
        return True
    try:
        value = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return False
    return bool(_validator(schema).is_valid(value))


def value(words: Sequence[str]) -> Any:
    """Return what a legal reply of a spec with a schema says."""
    return json.loads(" ".join(words))


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


@lru_cache(maxsize=1 << 10)
def _validator(schema: str) -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        parsed = json.loads(schema)
        Draft202012Validator.check_schema(parsed)
    except (ValueError, RecursionError) as error:
        raise ArenaError(f"a schema is JSON, and this is not: {error}") from None
    except SchemaError as error:
        raise ArenaError(f"this is no JSON schema: {error.message}") from None
    return Draft202012Validator(parsed)


@lru_cache(maxsize=1 << 10)
def shape(schema: str) -> Shape:
    """Return what a schema allows; raises ArenaError outside the supported subset.

    Schemas come over the wire too: none is fetched from elsewhere, and none grows as its references are written out.
    """
    parsed = _validator(schema).schema
    return _shape(parsed, parsed.get("$defs", {}) if isinstance(parsed, dict) else {}, "the reply", ())


def _shape(node: Any, definitions: Mapping[str, Json], where: str, within: tuple[str, ...]) -> Shape:
    if not isinstance(node, dict):
        raise ArenaError(f"the schema of {where} is {json.dumps(node)}: give it a type")
    if "$ref" in node:
        _only(node, {"$ref"}, where)
        name = str(node["$ref"]).removeprefix("#/$defs/")
        if name not in definitions or name in within:
            raise ArenaError(f"the schema of {where}: {node['$ref']} must name one of $defs that does not hold itself")
        return _shape(definitions[name], definitions, where, (*within, name))
    result = _kind(node, definitions, where, within)
    if len(json.dumps(result.narrow)) > LARGEST:
        raise ArenaError(f"the schema of {where} is too large: with its references it has over {LARGEST} characters")
    return result


def _kind(node: Json, definitions: Mapping[str, Json], where: str, within: tuple[str, ...]) -> Shape:
    if "const" in node or "enum" in node:
        _only(node, {"const", "enum", "type"}, where)
        allowed = _validator(json.dumps(node))
        return _values([value for value in node.get("enum", [node.get("const")]) if allowed.is_valid(value)], where)
    if "anyOf" in node:
        _only(node, {"anyOf"}, where)
        options = [_shape(option, definitions, where, within) for option in node["anyOf"]]
        single = all(len(one.places) == 1 for one in options)
        places = (tuple(dict.fromkeys(w for one in options for w in one.places[0])),) if single else options[0].places
        return Shape(places, max(one.longest for one in options), {"anyOf": [one.narrow for one in options]})
    kind = node.get("type")
    _only(node, KEYWORDS.get(str(kind), {"type"}), where)
    match kind:
        case "boolean":
            return _values([False, True], where)
        case "null":
            return _values([None], where)
        case "integer":
            return _integer(node, where)
        case "string":
            return _string(node, where)
        case "array":
            return _array(node, definitions, where, within)
        case "object":
            return _object(node, definitions, where, within)
    raise ArenaError(
        f"the schema of {where} has {'no type' if kind is None else f'the type {kind!r}'}: give it enum, const, anyOf, "
        "or the type boolean, null, integer, string, array or object"
    )


def _only(node: Json, allowed: set[str], where: str) -> None:
    if beyond := sorted(set(node) - ANNOTATIONS - allowed):
        raise ArenaError(f"the schema of {where}: {beyond[0]!r} is not supported; leave it out")


def _plain(value: Any, where: str) -> str:
    """Return a value as JSON; raises ArenaError for one that cannot be replied."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise ArenaError(f"the schema of {where}: {error}") from None
    if not text.isprintable() or text != " ".join(text.split()):
        raise ArenaError(f"the schema of {where}: {text} has white space at an end, twice, or other than spaces")
    return text


def _word(value: Any) -> str:
    """Return a value as JSON in one word of ASCII."""
    return json.dumps(value, separators=(",", ":")).replace(" ", "\\u0020")


def _values(values: Sequence[Any], where: str) -> Shape:
    if not values:
        raise ArenaError(f"the schema of {where}: enum needs at least one value of the type")
    longest = max(len(_plain(value, where)) for value in values)
    return Shape((tuple(dict.fromkeys(map(_word, values))),), longest, {"enum": list(values)})


def _bound(node: Json, name: str, where: str, needs: str) -> int:
    bound = node.get(name)
    if isinstance(bound, bool) or not isinstance(bound, int):
        raise ArenaError(f"the schema of {where}: {needs}, so that every reply has an end")
    return bound


def _integer(node: Json, where: str) -> Shape:
    needs = "an integer needs minimum and maximum, which are integers"
    low = max(_bound(node, name, where, needs) + add for name, add in _ends(node, "inimum", 1))
    high = min(_bound(node, name, where, needs) + add for name, add in _ends(node, "aximum", -1))
    if low > high:
        raise ArenaError(f"the schema of {where}: no integer is at least {low} and at most {high}")
    some = range(low, high + 1, -(-(high + 1 - low) // MOST))
    longest = max(len(str(low)), len(str(high)))
    return Shape((tuple(map(str, some)),), longest, {"type": "integer", "minimum": low, "maximum": high})


def _ends(node: Json, name: str, inward: int) -> list[tuple[str, int]]:
    """Return which keywords bound an integer on one side, and what to add for the last one that is allowed."""
    ends = [(f"exclusiveM{name}", inward), (f"m{name}", 0)]
    return [end for end in ends if end[0] in node] or ends[1:]


def _string(node: Json, where: str) -> Shape:
    most = _bound(node, "maxLength", where, "a string needs maxLength, or enum")
    least = node.get("minLength", 0)
    some = node.get("examples", [] if least else [""])
    if not some or any(not isinstance(text, str) or not least <= len(text) <= most for text in some):
        raise ArenaError(f"the schema of {where}: a string needs examples, for agents with a small vocabulary")
    for text in some:
        _plain(text, where)
    narrow = {"type": "string", "minLength": least, "maxLength": most}
    return Shape((tuple(dict.fromkeys(map(_word, some))),), 2 * most + 2, narrow)  # each character may be escaped


def _array(node: Json, definitions: Mapping[str, Json], where: str, within: tuple[str, ...]) -> Shape:
    most = _bound(node, "maxItems", where, "an array needs maxItems")
    least = int(node.get("minItems", 0))
    if not isinstance(node.get("items"), dict) or least > most:
        raise ArenaError(f"the schema of {where}: an array needs items, and minItems of at most maxItems")
    item = _shape(node["items"], definitions, f"{where}[]", within)
    count = max(least, min(1, most))
    if count * (len(item.places) + 1) > LONGEST:
        raise ArenaError(f"the schema of {where}: minItems are too many for agents with a small vocabulary")
    places: Places = (("[",), *item.places, *((",",), *item.places) * (count - 1), ("]",)) if count else (("[]",),)
    narrow = {"type": "array", "items": item.narrow, "minItems": least, "maxItems": most}
    return Shape(places, 2 + most * (item.longest + 1), narrow)


def _object(node: Json, definitions: Mapping[str, Json], where: str, within: tuple[str, ...]) -> Shape:
    parts = node.get("properties")
    if not parts or not isinstance(node.get("additionalProperties", True), bool):
        raise ArenaError(f"the schema of {where}: an object needs properties, and no schema of additional ones")
    shapes = {name: _shape(part, definitions, f"{where}.{name}", within) for name, part in parts.items()}
    places: Places = ()
    for place, (name, part) in enumerate(shapes.items()):
        places = (*places, (("," if place else "{") + _word(name) + ":",), *part.places)
    narrow = {
        "type": "object",
        "properties": {name: part.narrow for name, part in shapes.items()},
        "required": list(shapes),
        "additionalProperties": False,
    }
    longest = 1 + sum(len(_plain(name, where)) + 2 + part.longest for name, part in shapes.items())
    return Shape((*places, ("}",)), longest, narrow)
