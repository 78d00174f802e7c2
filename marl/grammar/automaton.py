"""Token automata of reply specs, for models whose words are several tokens: which tokens may come next.

Sampling and scoring take the same steps through an automaton, so both see one distribution. A reply may begin with
private thought, which ends with a token of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

from arenas.spec import ReplySpec, Words
from marl.errors import UserError

TALK: Final = "talk"  # any token of ordinary text that keeps to its line
OPENING: Final = "opening"  # the same, and more than white space
THOUGHT: Final = "thought"  # any token of ordinary text but the one that ends thought
Spell = Callable[[str, bool], tuple[int, ...]]
"""Word, and whether it is the first of its reply -> tokens."""
Node = tuple[int, tuple[int, ...]]
"""Place of a word, and the tokens of it so far."""


class Options(NamedTuple):
    """What may come next: a class of tokens, these tokens, or the end."""

    any: str = ""
    tokens: frozenset[int] = frozenset()
    end: bool = False
    bits: bytes = b""
    """Or these tokens: one bit for each of the vocabulary, the lowest of a byte first."""

    @property
    def only_end(self) -> bool:
        """Whether the end is the only option."""
        return self.end and not self.any and not self.tokens and not self.bits


class State(NamedTuple):
    """State of a reply: in thought, in free talk, or at these positions within words."""

    thought: int = 0
    """Tokens of thought left; the reply has not begun."""
    thinking: bool = False
    talk: int = -1
    """Tokens of free talk left; below 0 where talk is not free."""
    nodes: frozenset[Node] = frozenset()
    begun: bool = False
    drawn: tuple[int, ...] | None = None
    """The tokens so far of a reply that has a form."""


@dataclass(frozen=True, eq=False)
class Grammar:
    """The automaton of one spec. `talk` and `think` are the most tokens of free talk and of thought."""

    spec: ReplySpec
    spell: Spell
    talk: int
    think: int
    pause: int
    """The token that ends thought."""
    form: Callable[[tuple[int, ...]], Options] | None = None
    """What may come after some tokens of a reply that has a form (marl/grammar/structured.py)."""

    @property
    def start(self) -> State:
        """The state before the first token."""
        return State(thought=self.think, thinking=True) if self.think else self._first()

    @cached_property
    def longest(self) -> int:
        """The most tokens of a reply, with its end."""
        if self.form:  # a character has at most four bytes, and a token at least one
            return 4 * self.spec.free + (self.think + 1 if self.think else 0) + 1
        steps = self.spec.steps[:1] if len(self.spec.channels) > 1 and self.spec.free else self.spec.steps
        places = () if self.spec.free and len(self.spec.channels) < 2 else steps
        words = sum(max(len(self.spell(word, not place)) for word in step) for place, step in enumerate(places))
        return words + (self.talk if self.spec.free else 0) + (self.think + 1 if self.think else 0) + 1

    def _first(self) -> State:
        if self.form:
            return State(drawn=())
        if not self.spec.free:
            return State(nodes=frozenset({(0, ())}))
        return State(nodes=frozenset({(0, ())})) if len(self.spec.channels) > 1 else State(talk=self.talk)

    def options(self, state: State) -> Options:
        """Return what may come next."""
        if state.thinking:
            return Options(THOUGHT if state.thought else "", frozenset({self.pause}))
        if self.form and state.drawn is not None:
            return self.form(state.drawn)
        if not state.nodes:
            silent = self.spec.least == 0
            kind = TALK if state.begun or silent else OPENING
            return Options(kind if state.talk > 0 else "", end=state.begun or silent or state.talk <= 0)
        tokens = {
            spelled[len(sofar)]
            for place, sofar in state.nodes
            for spelled in self._words(place).values()
            if spelled[: len(sofar)] == sofar and len(spelled) > len(sofar)
        }
        end = any(place >= self.spec.least and not sofar for place, sofar in state.nodes)
        return Options("", frozenset(tokens), end)

    def step(self, state: State, token: int) -> State:
        """Return the state after a token that was among the options."""
        if state.thinking:
            return self._first() if token == self.pause else state._replace(thought=state.thought - 1)
        if state.drawn is not None:
            return State(drawn=(*state.drawn, token))
        if not state.nodes:
            return state._replace(talk=state.talk - 1, begun=True)
        after: set[Node] = set()
        for place, sofar in state.nodes:
            more = (*sofar, token)
            words = [spelled for spelled in self._words(place).values() if spelled[: len(more)] == more]
            if any(len(spelled) > len(more) for spelled in words):
                after.add((place, more))
            if more in words:
                after.add((place + 1, ()))
        if self.spec.free and (1, ()) in after:
            return State(talk=self.talk)  # the channel is named; what follows is free
        return State(nodes=frozenset(after), begun=True)

    def _words(self, place: int) -> dict[str, tuple[int, ...]]:
        """Return the words that may stand at a place, spelled."""
        if place >= (1 if self.spec.free else len(self.spec.steps)):
            return {}
        return _spelled(self.spec.steps[place], place == 0, self.spell)


_SPELLED: dict[tuple[Words, bool, Spell], dict[str, tuple[int, ...]]] = {}


def _spelled(words: Words, first: bool, spell: Spell) -> dict[str, tuple[int, ...]]:
    spelled = _SPELLED.get((words, first, spell))
    if spelled is None:
        if len(_SPELLED) >= 1 << 12:
            _SPELLED.clear()
        spelled = _SPELLED[words, first, spell] = {word: spell(word, first) for word in words}
    return spelled


def speller(
    encode: Callable[[str], Sequence[int]],
    decode: Callable[[Sequence[int]], str],
    encode_first: Callable[[str], Sequence[int]] | None = None,
) -> Spell:
    """Return how a tokenizer spells words, alone and behind another; raises UserError for a word it cannot spell.

    `encode_first` encodes the first word of a reply where that differs from text that stands alone.
    """
    cache: dict[tuple[str, bool], tuple[int, ...]] = {}

    def spell(word: str, first: bool) -> tuple[int, ...]:
        if (word, first) not in cache:
            lead = tuple(encode("a"))
            ids = tuple((encode_first or encode)(word) if first else encode(f"a {word}"))
            ids = ids if first else ids[len(lead) :]
            text = decode(ids) if first else decode((*lead, *ids))
            if text != (word if first else f"a {word}"):
                raise UserError(f"the tokenizer cannot write the reply {word!r}: it reads back as {text!r}")
            cache[word, first] = ids
        return cache[word, first]

    return spell
