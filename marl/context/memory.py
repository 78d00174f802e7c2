"""Memory: the part of its view of the log that an agent sees when it is asked.

Without a memory it sees everything. A memory builds a new context for every request, so contexts stay short in long
episodes; the log keeps everything. `overwrite` and `state` are written by the agent itself, in replies that get credit
like any other: agents learn what to remember.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, pairwise
from typing import Annotated, Any, Final, Literal

from pydantic import Field, TypeAdapter
from typing_extensions import override

from arenas.spec import ReplySpec, Words
from marl.context.transcript import Open, Transcript, render
from marl.tools.bm25 import Index
from protocols.envelope import Envelope, Kind
from protocols.settings import Settings


@dataclass(slots=True)
class Reply:
    """A reply of the agent: its tokens, or its text. `note`: for its memory; `aside`: not for the arena."""

    note: bool
    aside: bool
    tokens: tuple[int, ...] = ()
    text: str | None = None


Piece = Envelope | Reply


class Full(Settings):
    """Everything."""

    type: Literal["full"] = "full"

    def seen(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """Return the pieces in the next context."""
        return pieces

    kept = seen


class Window(Settings):
    """The agent's last `turns` replies to the arena and everything after them; with `tokens`, at most so many."""

    type: Literal["window"] = "window"
    turns: int = Field(default=1, ge=0)
    tokens: int = Field(default=0, ge=0)

    def seen(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """Return the pieces in the next context."""
        starts = [i for i in range(len(pieces)) if _begins(pieces, i)]
        return pieces[starts[-1 - self.turns] if len(starts) > self.turns else 0 :]

    def kept(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """Return the pieces that a later context may hold."""
        return self.seen(pieces)


class Retrieval(Window):
    """A window, and the `most` earlier turns that are nearest to it by BM25, in their order."""

    type: Literal["retrieval"] = "retrieval"  # type: ignore[assignment]
    turns: int = Field(default=0, ge=0)
    most: int = Field(default=2, ge=1)

    @override
    def seen(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        recent = super().seen(pieces)
        before = _turns(pieces[: len(pieces) - len(recent)])
        if not before:
            return recent
        nearest = sorted(Index([_text(turn) for turn in before]).nearest(_text(recent), self.most))
        return [*chain.from_iterable(before[index] for index in nearest), *recent]

    @override
    def kept(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        return pieces


class Overwrite(Settings):
    """The agent's last note, and everything after it (MemAgent, Yu et al. 2025).

    Before a new view the agent is asked to rewrite its memory, from the old note and everything after it; the new note
    replaces both. Models from scratch write `length` of `words` (default: the arena's), others a line of at most `free`
    characters.
    """

    type: Literal["overwrite"] = "overwrite"
    words: tuple[str, ...] = ()
    length: int = Field(default=4, ge=1)
    free: int = Field(default=400, ge=0)

    def seen(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """Return the pieces in the next context."""
        return self._from(1, pieces)

    def kept(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """Return the pieces that a later context may hold."""
        return self._from(1, pieces)

    @staticmethod
    def _from(note: int, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """Return the last note (1) or the last but one (2), and everything after it."""
        notes = [i for i, piece in enumerate(pieces) if isinstance(piece, Reply) and piece.note]
        return pieces[notes[-note] :] if len(notes) >= note else pieces


class State(Overwrite):
    """A state of constant size that the agent rewrites in each turn, after the view (MEM1, Zhou et al. 2025).

    When it replies it sees the old state, the new view and the new state; when it writes the next state it sees this
    one, its reply, and the new view.
    """

    type: Literal["state"] = "state"  # type: ignore[assignment]

    @override
    def seen(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        return self._from(1 if _asked(pieces).data.get("aside") == Kind.NOTE.value else 2, pieces)

    @override
    def kept(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        return self._from(2, pieces)


MemoryConfig = Annotated[Full | Window | Retrieval | Overwrite | State, Field(discriminator="type")]
_ADAPTER: Final[TypeAdapter[Any]] = TypeAdapter(MemoryConfig)


def note_spec(memory: Overwrite, vocabulary: Words) -> ReplySpec:
    """Return the spec of an agent's notes."""
    return ReplySpec(((memory.words or vocabulary),) * memory.length, free=memory.free)


class Remembered(Transcript):
    """Transcript with a memory: each request rebuilds the context from the envelopes and replies the memory shows."""

    __slots__ = ("_begin", "_memory", "_now", "_pieces")

    def __init__(self, begin: Open, memory: MemoryConfig) -> None:
        super().__init__()
        self._begin, self._memory = begin, memory
        self._pieces: list[Piece] = []
        self._now = begin()

    @property
    def kept(self) -> int:
        """Number of envelopes and replies kept."""
        return len(self._pieces)

    @override
    def hear(self, envelope: Envelope) -> None:
        self._pieces.append(envelope)

    @override
    def ask(self) -> None:
        seen = list(self._memory.seen(self._pieces))
        self._lay_out(seen)
        most = getattr(self._memory, "tokens", 0)
        while most and len(self.ids) > most and len(seen) > 1:
            del seen[0]
            self._lay_out(seen)
        aside = _asked(self._pieces).data.get("aside")
        self._pieces = list(self._memory.kept(self._pieces))
        self._pieces.append(Reply(aside == Kind.NOTE.value, aside is not None))

    def _lay_out(self, seen: Sequence[Piece]) -> None:
        self._now = now = self._begin()
        for piece in seen:
            if isinstance(piece, Envelope):
                now.hear(piece)
                continue
            now.ask()
            if piece.tokens:
                now.replied(piece.tokens)
            if piece.text is not None:
                now.answered(piece.text)
        now.ask()
        self.heard, self.answers = now.heard, now.answers
        self.restart(now.ids)

    @override
    def take_back(self, length: int) -> None:
        self._now.take_back(length)
        self._pieces.pop()

    @override
    def answered(self, text: str) -> None:
        self._own.text = text
        self._now.answered(text)

    @override
    def replied(self, tokens: Sequence[int]) -> None:
        self._own.tokens = tuple(tokens)
        self._now.replied(tokens)

    @property
    def _own(self) -> Reply:
        reply = self._pieces[-1]
        assert isinstance(reply, Reply)
        return reply


def remembering(begin: Open, memory: MemoryConfig | None) -> Transcript:
    """Return an empty transcript with a memory; None keeps everything, as a full memory does."""
    return begin() if memory is None or isinstance(memory, Full) else Remembered(begin, memory)


def of(scenario: Mapping[str, Any], agent: str) -> MemoryConfig | None:
    """Return an agent's memory in a logged scenario."""
    config = scenario.get("memory", {}).get(agent)
    return None if config is None else _read(json.dumps(config))


@cache
def _read(config: str) -> Any:
    return _ADAPTER.validate_json(config)


def _asked(pieces: Sequence[Piece]) -> Envelope:
    """Return the newest view."""
    return next(piece for piece in reversed(pieces) if isinstance(piece, Envelope) and piece.kind is Kind.VIEW)


def _begins(pieces: Sequence[Piece], index: int) -> bool:
    """Return whether a turn begins at this index: at the first piece, or after a reply to the arena."""
    before = pieces[index - 1] if index else None
    return before is None or (isinstance(before, Reply) and not before.aside)


def _turns(pieces: Sequence[Piece]) -> list[Sequence[Piece]]:
    """Split pieces into turns; each ends with a reply to the arena."""
    starts = [i for i in range(len(pieces)) if _begins(pieces, i)]
    return [pieces[start:stop] for start, stop in pairwise([*starts, len(pieces)])]


def _text(pieces: Sequence[Piece]) -> str:
    return " ".join(render(piece) for piece in pieces if isinstance(piece, Envelope))
