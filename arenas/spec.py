"""Reply specs: which words an agent may reply with, position by position.

A tiny model gets a spec as a token mask, a chat model as a grammar, a PettingZoo user as a `Discrete` space in which
action i is the i-th reply.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from typing import Any, Final, Literal, Protocol

from arenas import form
from arenas.errors import ArenaError

Words = tuple[str, ...]
PUBLIC: Final = "public"
"""The channel of messages whose spec names no other."""
UNKNOWN: Final = "<unk>"
"""The word for everything outside a vocabulary, where talk is free."""
ATTRIBUTES: Final = "abcdefghijkl"  # first letters of attribute words; m and p stay free for messages and positions


@dataclass(frozen=True)
class ReplySpec:
    """Which replies are legal: word j is one of `steps[j]`, and a reply has at least `least` words.

    `kind` is "say" for messages and "move" for moves of the rules. A message goes out on the channel in `channels`, or
    on the public one if that is empty; of several channels, the first word of the reply names one. With `free` above 0
    a reply may be any text of at most `free` characters, and `steps` are the replies of agents with a small vocabulary
    and of PettingZoo's numbered actions. `pattern`, a regular expression, or `schema`, a JSON schema as text, restrict
    free text (see arenas/form.py); a run of white space counts as one space.
    """

    steps: tuple[Words, ...]
    kind: Literal["say", "move"] = "move"
    least: int = -1
    channels: Words = ()
    free: int = 0
    pattern: str = ""
    schema: str = ""

    @cached_property
    def _hash(self) -> int:
        return hash((self.steps, self.kind, self.least, self.channels, self.free, self.pattern, self.schema))

    def __hash__(self) -> int:
        return self._hash  # cached: specs have many words, and every reply looks one up

    def __post_init__(self) -> None:
        if self.least < 0:
            object.__setattr__(self, "least", len(self.steps))
        if self.least > len(self.steps) or any(len(set(step)) != len(step) or not step for step in self.steps):
            raise ArenaError(f"a reply spec needs distinct words at each place and 0 <= least <= {len(self.steps)}")
        if spaced := [word for word in self.alphabet if word.split() != [word]]:
            raise ArenaError(f"a reply spec needs words without spaces, not {spaced[0]!r}")
        if self.kind not in ("say", "move"):
            raise ArenaError(f"a reply spec is of kind say or move, not {self.kind!r}")
        if self.channels and self.kind != "say":
            raise ArenaError("a move goes out on no channel: leave channels out, or make it a say")
        if self.free < 0:
            raise ArenaError(f"free is the most characters of a reply, 0 for none but those listed, not {self.free}")
        if len(self.channels) > 1 and self.steps[:1] != (self.channels,):
            raise ArenaError("a spec of several channels names them as the first word's options: build it with say")
        if self.pattern or self.schema:
            self._check_form()

    def _check_form(self) -> None:
        what = f"the pattern {self.pattern!r}" if self.pattern else "the schema"
        if not self.free or (self.pattern and self.schema):
            raise ArenaError("a form is one pattern or one schema, of free text: build it with matching or structured")
        if len(self.channels) > 1:
            raise ArenaError(f"{what} leaves no room for the name of a channel: give at most one of channels")
        if self.schema and (need := form.shape(self.schema).longest) > self.free:
            raise ArenaError(
                f"replies of the schema have up to {need} characters: let free be as many, not {self.free}"
            )
        for words in (self.default, self.words(self.size - 1)):
            if not self._fits(" ".join(words), words):
                raise ArenaError(
                    f"{what} does not allow {' '.join(words)!r} within {self.free} characters, which is among the "
                    "replies of agents with a small vocabulary: change places, free or the form"
                )

    @cached_property
    def alphabet(self) -> Words:
        """Every word that may occur, in order of first position."""
        return tuple(dict.fromkeys(word for step in self.steps for word in step))

    @cached_property
    def places(self) -> tuple[Words, ...]:
        """The options of each word that listeners hear: all steps but the one that names the channel."""
        return self.steps[1:] if len(self.channels) > 1 else self.steps

    @cached_property
    def symbols(self) -> Words:
        """Every word that listeners may hear, in order of first position."""
        return tuple(dict.fromkeys(word for step in self.places for word in step))

    def route(self, words: Words) -> tuple[str, Words]:
        """Return the channel of a reply ("" for silence) and the words that are said there."""
        if len(self.channels) > 1:
            return (words[0], words[1:]) if words else ("", ())
        return (self.channels[0] if self.channels else PUBLIC), words

    def text(self, channel: str, body: str) -> str:
        """Return the reply that says `body` on a channel, the inverse of `route`."""
        return f"{channel} {body}".strip() if len(self.channels) > 1 else body

    @cached_property
    def _blocks(self) -> tuple[tuple[int, tuple[Words, ...]], ...]:
        """For each length, shortest first: the number of replies, and the options of its words, last word first."""
        lengths = range(self.least, len(self.steps) + 1)
        return tuple((prod(map(len, self.steps[:n])), self.steps[:n][::-1]) for n in lengths)

    @cached_property
    def size(self) -> int:
        """The number of different replies."""
        return sum(block for block, _ in self._blocks)

    @cached_property
    def default(self) -> Words:
        """The reply of an agent that gave no legal one: silence if allowed, else the first reply."""
        return self.words(0)

    def words(self, index: int) -> Words:
        """Return reply number `index`: shorter replies first, the last word changing fastest."""
        for block, steps in self._blocks:
            if 0 <= index < block:
                reply = []
                for step in steps:
                    index, digit = divmod(index, len(step))
                    reply.append(step[digit])
                return tuple(reply[::-1])
            index -= block
        raise ArenaError(f"the number of a reply is from 0 to {self.size - 1}")

    def index(self, words: Words) -> int:
        """Return the number of a legal reply, the inverse of `words`."""
        index = 0
        for step, word in zip(self.steps, words, strict=False):
            index = index * len(step) + step.index(word)
        return index + sum(prod(len(s) for s in self.steps[:n]) for n in range(self.least, len(words)))

    def parse(self, text: str) -> Words | None:
        """Return the words of a reply; None if it is not legal. Nothing is guessed."""
        words = tuple(text.split())
        if self.free:
            return words if self._fits(text, words) else None
        if not self.least <= len(words) <= len(self.steps):
            return None
        for word, step in zip(words, self.steps, strict=False):
            if word not in step:
                return None
        return words

    def _fits(self, text: str, words: Words) -> bool:
        """Return whether free text is legal."""
        several = len(self.channels) > 1
        names_channel = not several or not words or words[0] in self.channels
        enough = self.least == 0 or len(words) > several
        fits = len(text) <= self.free and text.isprintable() and names_channel and enough
        return fits and (not words or self.formed(" ".join(words)))

    def formed(self, text: str) -> bool:
        """Return whether a text matches the pattern or schema, if there is one."""
        return not (self.pattern or self.schema) or form.matches(text, self.pattern, self.schema)

    @cached_property
    def wire(self) -> dict[str, Any]:
        """The spec as JSON values, for agents in other processes."""
        same = len(set(self.steps)) == 1
        steps: dict[str, Any] = {"words": self.steps[0], "places": len(self.steps)} if same else {"steps": self.steps}
        least = {} if self.least == len(self.steps) else {"least": self.least}
        free: dict[str, Any] = {"free": self.free} if self.free else {}
        free |= ({"pattern": self.pattern} if self.pattern else {}) | ({"schema": self.schema} if self.schema else {})
        return steps | {"kind": self.kind} | least | free | ({"channels": self.channels} if self.channels else {})

    def describe(self) -> str:
        """Return one line for people."""
        if self.free:
            where = f" after the name of a channel: {'|'.join(self.channels)}" if len(self.channels) > 1 else ""
            what = "anything" if self.kind == "say" else "any text"
            if self.pattern or self.schema:
                what = f"text that matches {self.pattern}" if self.pattern else f"JSON of the schema {self.schema}"
            return f"{self.kind}s {what} of at most {self.free} characters{where}"
        count = f"{self.least} to {len(self.steps)}" if self.least != len(self.steps) else f"{len(self.steps)}"
        if len(set(self.steps)) == 1:
            return f"{self.kind}s {count} of: {' '.join(self.steps[0])}"
        return f"{self.kind}s {count} words: " + ", then ".join("|".join(step) for step in self.steps)


def from_wire(wire: dict[str, Any]) -> ReplySpec:
    """Return the spec of a `ReplySpec.wire`; raises ArenaError for anything else."""
    recent = _RECENT_SPECS.get(id(wire))
    if recent is not None and recent[0] is wire:
        return recent[1]
    try:
        steps = [wire["words"]] * int(wire["places"]) if "words" in wire else wire["steps"]
        spec = ReplySpec(
            tuple(tuple(map(str, step)) for step in steps),
            wire["kind"],
            least=int(wire.get("least", -1)),
            channels=tuple(map(str, wire.get("channels", ()))),
            free=int(wire.get("free", 0)),
            pattern=str(wire.get("pattern", "")),
            schema=str(wire.get("schema", "")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ArenaError(f"not a reply spec: {error!r}") from None
    if len(_RECENT_SPECS) >= _MAX_RECENT:
        _RECENT_SPECS.clear()
    _RECENT_SPECS[id(wire)] = (wire, spec)
    return spec


# Within one process every view carries the same `wire` object, so its id finds the spec without hashing or comparing
# its words. The cache also holds the object: while an entry exists, no other object can have its id.
_RECENT_SPECS: Final[dict[int, tuple[dict[str, Any], ReplySpec]]] = {}
_MAX_RECENT: Final = 1024


def choose(options: Words, free: int = 0) -> ReplySpec:
    """Make one move out of several; `free` above 0 allows any text of so many characters instead."""
    return ReplySpec((tuple(options),), free=free)


def fill(*places: Words, least: int = -1, free: int = 0) -> ReplySpec:
    """Make a move of several words, each with its own options; `least` (default: all) must be given.

    `free` above 0 allows any text of so many characters instead.
    """
    return ReplySpec(tuple(map(tuple, places)), least=least, free=free)


def say(alphabet: Words, length: int, least: int = -1, channels: Words = (), free: int = 0) -> ReplySpec:
    """Say `least` (default: exactly `length`) to `length` symbols of an alphabet, on one of some channels.

    Several channels are a choice of the speaker: its reply begins with the name of one, or is silence if `least` is 0.
    `free` above 0 allows any text of so many characters instead.
    """
    return on((tuple(alphabet),) * length, length if least < 0 else least, channels, free)


def on(places: tuple[Words, ...], least: int, channels: Words, free: int = 0) -> ReplySpec:
    """Say at least `least` words with these options at each place, on one of some channels."""
    if len(channels) < 2:
        return ReplySpec(places, "say", least, tuple(channels), free)
    return ReplySpec((tuple(channels), *places), "say", least + 1 if least else 0, tuple(channels), free)


class Model(Protocol):
    """A pydantic model class."""

    def model_json_schema(self) -> dict[str, Any]:
        """Return its JSON schema."""


def matching(
    pattern: str, *places: Words, free: int, kind: Literal["say", "move"] = "move", least: int = -1
) -> ReplySpec:
    """Reply with text of at most `free` characters that a regular expression matches as a whole.

    Agents with a small vocabulary give one word of each of `places`; all that they can reply must match too.
    """
    return ReplySpec(tuple(map(tuple, places)), kind, least, free=free, pattern=pattern)


def structured(
    schema: Mapping[str, Any] | Model, *places: Words, kind: Literal["say", "move"] = "move", free: int = 0
) -> ReplySpec:
    """Reply with JSON of a schema or of a pydantic model; raises ArenaError if `arenas/form.py` lacks it.

    `form.value` reads a reply. `places` are those of agents with a small vocabulary, `free` the most characters; by
    default the schema gives both.
    """
    plain = schema if isinstance(schema, Mapping) else schema.model_json_schema()
    text = json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
    shape = form.shape(text)
    steps = tuple(map(tuple, places)) or shape.places
    room = max(shape.longest, sum(max(map(len, step)) for step in steps)) + 2 * len(steps)  # and white space
    return ReplySpec(steps, kind, free=free or room, schema=text)


@lru_cache
def symbols(prefix: str, n: int) -> Words:
    """Return n meaningless words: `symbols("m", 3)` is m0 m1 m2."""
    return tuple(f"{prefix}{i}" for i in range(n))


def objects(attributes: int, values: int) -> ReplySpec:
    """Describe objects by one word per attribute, a0 or a1 or ..., then b0 or b1 or ...; object i is `words(i)`."""
    if not 1 <= attributes <= len(ATTRIBUTES) or values < 2:
        raise ArenaError(
            f"objects need 1 to {len(ATTRIBUTES)} attributes and values >= 2, not {attributes=} and {values=}"
        )
    return fill(*(symbols(letter, values) for letter in ATTRIBUTES[:attributes]))
