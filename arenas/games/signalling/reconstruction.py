"""Reconstruction game: the listener names every attribute of an object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, islice
from math import comb
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from arenas.core import Anchors, Arena, Outcome
from arenas.errors import ArenaError
from arenas.pettingzoo_base import MAX_ACTIONS
from arenas.scripted import Memory, Script
from arenas.spec import Words, objects, say, symbols

SPEAKER: Final = "speaker_0"
LISTENER: Final = "listener_0"


def diagonals(attributes: int, values: int) -> NDArray[np.int64]:
    """Return the diagonal of each object: the sum of its value numbers modulo `values`.

    From two attributes on, every value of every attribute occurs equally often on every diagonal (two attributes: a
    Latin square), so that leaving diagonals out makes no value rarer than another.
    """
    sums = np.zeros(1, np.int64)
    for _ in range(attributes):
        sums = np.add.outer(sums, np.arange(values)).ravel()
    return sums % values


def best_fraction(attributes: int, values: int, messages: int, deals: int) -> float:
    """Return an upper bound on the fraction of right attributes under any code with M = `messages` messages.

    To each message the listener answers with one object, a *code word*; at best the speaker sends the message whose
    code word is nearest in Hamming distance. Attributes right = sum over r = 0 .. a-1 of [a code word lies within
    distance r]. Within r of M words are at most M times as many objects as in one ball; and within a-1, the last term,
    are the objects that share a value with a code word: at most all but (v - min(M, v))^a of the v^a.

    The bound is reached with one or two attributes when all objects are dealt (code words on a diagonal), for one
    message, and from `messages` = `deals` on; otherwise the best code may stay below it.
    """
    if messages >= deals:
        return 1.0
    right = ball = 0
    for distance in range(attributes - 1):
        ball += comb(attributes, distance) * (values - 1) ** distance
        right += min(deals, messages * ball)
    sharing: int = values**attributes - (values - min(messages, values)) ** attributes
    right += min(deals, sharing)
    return right / (attributes * deals)


class Reconstruction(Arena):
    """Reconstruction game; a case is an object.

    Messages have `length` symbols out of `alphabet`, or `least` to `length` if that is set. `held_out`: the fraction of
    attribute combinations held out of the split "train" and put in "held_out", rounded to whole diagonals (see
    `diagonals`), at least one and at most all but one.
    """

    rules = """
    Reconstruction game: the speaker sees an object, the listener names every attribute of it.

    Objects have `attributes` attributes with one of `values` values each. Both get the fraction of attributes that are
    right (`partial`), or 1 only if all are. (The reconstruction game of EGG's `basic_games`, Kharitonov et al. 2019; that
    it forces meanings to be consistent where discrimination does not: Ben Zion et al. 2024.)

    Messages of `length` symbols out of `alphabet`, or of `least` to `length` if that is given; a case is an object.

    `held_out`: the fraction of attribute combinations that are kept out of the split "train" and make the split
    "held_out", rounded to whole diagonals (see `diagonals`), at least one and at most all but one.
    """
    metadata = Arena.metadata | {"name": "reconstruction_v0"}
    tags = ("cooperative", "communication")
    ranges: ClassVar[Mapping[str, tuple[int, int]]] = {
        "attributes": (2, 5),
        "values": (2, 12),
        "length": (1, 5),
        "alphabet": (1, 16),
    }

    def __init__(
        self,
        attributes: int = 2,
        values: int = 8,
        length: int = 3,
        alphabet: int = 12,
        partial: bool = True,
        held_out: float = 0.0,
        least: int = -1,
    ) -> None:
        naming = objects(attributes, values)
        if length < 1 or alphabet < 1 or not -1 <= least <= length:
            raise ArenaError(
                "reconstruction needs length and alphabet >= 1, and least from 0 to length or -1 for messages that are "
                f"all of one length, not {length=}, {alphabet=} and {least=}"
            )
        if not 0 <= held_out < 1 or (held_out and (attributes < 2 or naming.size > MAX_ACTIONS)):
            raise ArenaError(
                f"held_out is a fraction from 0 to below 1 and needs 2 attributes and at most {MAX_ACTIONS} objects, "
                f"not {held_out=}, {attributes=} and {values=}"
            )
        talk = say(symbols("m", alphabet), length, least)
        self.cases, self.messages = naming.size, talk.size
        self.attributes, self.values, self.partial = attributes, values, partial
        self._splits: dict[str, Sequence[int]] = {"train": range(self.cases)}
        if held_out:
            held = diagonals(attributes, values) < min(max(round(held_out * values), 1), values - 1)
            self._splits = {"train": np.flatnonzero(~held).tolist(), "held_out": np.flatnonzero(held).tolist()}
        super().__init__(
            {SPEAKER: talk, LISTENER: naming},
            words=("object", "which"),
            view_words=4 + length + attributes,
        )

    @override
    def splits(self) -> Mapping[str, Sequence[int]]:
        return self._splits

    @override
    def lay(self, case: int) -> None:
        self.truth = self.replies[LISTENER][0].words(case)
        self.stage = SPEAKER

    @override
    def acting(self) -> tuple[str, ...]:
        return (self.stage,)

    @override
    def view(self, agent: str) -> str:
        # Only the speaker sees the object; one word prompts the listener, as more would drown the message at first.
        return self.hidden() if agent == SPEAKER else "which"

    @override
    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        if SPEAKER in replies:
            self.stage = LISTENER
            return Outcome()
        right = [guess == true for guess, true in zip(replies[LISTENER], self.truth, strict=True)]
        reward = sum(right) / len(right) if self.partial else float(all(right))
        return Outcome({SPEAKER: reward, LISTENER: reward}, done=True)

    @override
    def hidden(self) -> str:
        return f"object {' '.join(self.truth)}"

    @override
    def anchors(self) -> Anchors:
        # Over the split "train": a guessed attribute is right once in v, a guessed object once in the deals.
        deals = len(self._splits["train"])
        if self.partial:
            full = best_fraction(self.attributes, self.values, self.messages, deals)
            return Anchors(1 / self.values, 1 / self.values, full)
        return Anchors(1 / self.cases, 1 / deals, min(self.messages, deals) / deals)

    @override
    def scripts(self) -> Mapping[str, Script]:
        # The code words are dealt objects, first those that share no value; the speaker points to the nearest.
        dealt, naming, messages = self._splits["train"], self.replies[LISTENER][0], self.replies[SPEAKER][0]
        step = (self.cases - 1) // (self.values - 1)  # between objects with one number everywhere
        apart = [case for case in range(0, self.cases, step) if case in dealt]
        others = (case for case in dealt if case % step)

        def silent(memory: Memory) -> Words:
            return memory.spec.words(dealt[0] if memory.agent == LISTENER else 0)

        def code(memory: Memory) -> Words:
            if memory.agent == LISTENER:
                return book[messages.index(memory.heard[0][1])]
            right = [sum(map(str.__eq__, word, memory.view[1:])) for word in book]
            return messages.words(max(range(len(book)), key=right.__getitem__))

        book = [naming.words(case) for case in islice(chain(apart, others), self.messages)]
        reached = not self.partial or self.messages >= len(dealt) or (self.attributes < 3 and len(dealt) == self.cases)
        return {"silent": silent, "full" if reached else "best": code}
