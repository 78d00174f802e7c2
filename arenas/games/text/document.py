"""Long document read in chunks: a test of memories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

import numpy as np
from typing_extensions import override

from arenas.core import Anchors, Arena, Outcome
from arenas.errors import ArenaError
from arenas.scripted import Memory, Script
from arenas.spec import ReplySpec, Words, choose

READER: Final = "reader_0"
COLOURS: Final = ("red", "blue", "green", "white", "black", "brown", "pink", "grey")
CODE, NEXT = "code", "next"
THINGS: Final = ("sky", "sea", "sand", "door", "roof", "tree", "hat", "lamp")


class Document(Arena):
    """Document of `least` to `chunks` chunks (always `chunks` if `least` is 0) with `facts` sentences each.

    Things have one of `colours`.
    """

    rules = """
    Document: a reader gets a text in chunks, one after the other, and is asked at the end for a fact that stood in one.

    Every sentence says of a thing which colour it has; one of them, anywhere, says it of the code. When the text is over
    the reader names the code's colour, for 1 if it is right, else 0. (After the needle in a haystack of tests of long
    contexts.)

    `chunks` of `facts` sentences each (`least` to `chunks`, if it is above 0); things have one of `colours`.
    """
    metadata = Arena.metadata | {"name": "document_v0", "is_parallelizable": True}
    tags = ("cooperative", "memory")
    ranges: ClassVar[Mapping[str, tuple[int, int]]] = {"chunks": (1, 60), "facts": (1, 6), "colours": (2, 8)}

    def __init__(self, chunks: int = 8, facts: int = 2, colours: int = 4, least: int = 0) -> None:
        if not 1 <= chunks <= 100_000 or not 1 <= facts <= 64 or not 2 <= colours <= len(COLOURS):
            raise ArenaError(
                f"document needs 1 to 100000 chunks, 1 to 64 facts and 2 to {len(COLOURS)} colours, "
                f"not {chunks=}, {facts=}, {colours=}"
            )
        if not 0 <= least <= chunks:
            raise ArenaError(f"document needs least from 0 (always `chunks`) to chunks={chunks}, not {least=}")
        self.most, self.least, self.facts, self.colours = chunks, least or chunks, facts, COLOURS[:colours]
        specs = (choose((NEXT,)), choose(self.colours))
        super().__init__({READER: specs}, words=(CODE, *THINGS), view_words=max(2 * facts, 32))

    @override
    def deal(self, rng: np.random.Generator, split: str) -> None:
        self.chunks = self.most if self.least == self.most else int(rng.integers(self.least, self.most + 1))
        size = self.chunks * self.facts
        things = rng.integers(len(THINGS), size=size)
        colours = rng.integers(len(self.colours), size=size)
        place = int(rng.integers(size))
        self.code = self.colours[colours[place]]
        self.text = tuple(
            f"{CODE if i == place else THINGS[thing]} {self.colours[colour]}"
            for i, (thing, colour) in enumerate(zip(things.tolist(), colours.tolist(), strict=True))
        )
        self.read = 0

    @override
    def acting(self) -> tuple[str, ...]:
        return (READER,)

    @override
    def spec(self, agent: str) -> ReplySpec:
        return self.replies[agent][self.read == self.chunks]

    @override
    def view(self, agent: str) -> str:
        # The next chunk; at the end, the question.
        if self.read == self.chunks:
            return CODE
        return " ".join(self.text[self.read * self.facts : (self.read + 1) * self.facts])

    @override
    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        if self.read < self.chunks:
            self.read += 1
            return Outcome()
        return Outcome({READER: float(replies[READER] == (self.code,))}, done=True)

    @override
    def hidden(self) -> str:
        return f"{CODE} {self.code}"

    @override
    def anchors(self) -> Anchors:
        # A random colour; nobody needs a message, and a reader who has read everything knows.
        return Anchors(random=1 / len(self.colours), silent=1.0, full=1.0)

    @override
    def scripts(self) -> Mapping[str, Script]:
        # The reader remembers all that it read.
        return {"full": _remembers, "silent": _remembers}


def _remembers(memory: Memory) -> Words:
    if memory.spec.steps[0] == (NEXT,):
        return (NEXT,)
    for view in memory.views:
        if CODE in view[:-1]:
            return (view[view.index(CODE) + 1],)
    return memory.spec.words(0)
