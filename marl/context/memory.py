"""Memory: which part of its view of the log an agent sees when it is asked.

Without one it sees everything. A memory lays the context out anew for every question, so it stays short however long
the episode is; what is left out stays in the log. `overwrite` and `state` are written by the agent itself, as replies
with credit like any other: what to remember is learned.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Final, Literal

from pydantic import Field, TypeAdapter

from arenas.spec import ReplySpec, Words
from marl.context.transcript import Open, Transcript, render
from marl.tools.bm25 import Index
from protocols.envelope import Envelope, Kind
from protocols.settings import Settings


@dataclass(slots=True)
class Reply:
    """A reply of one's own: the tokens that were drawn, or the text. `note` if it was written into the memory."""

    note: bool
    aside: bool
    tokens: tuple[int, ...] = ()
    text: str | None = None


Piece = Envelope | Reply


class Full(Settings):
    """Everything."""

    type: Literal["full"] = "full"

    def seen(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """Return what is seen of what was perceived and replied."""
        return pieces

    kept = seen


class Window(Settings):
    """The last `turns` of one's own replies to the arena and what came after them; at most `tokens`, where given."""

    type: Literal["window"] = "window"
    turns: int = Field(default=1, ge=0)
    tokens: int = Field(default=0, ge=0)

    def seen(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """Return what is seen of what was perceived and replied."""
        starts = [i for i in range(len(pieces)) if _begins(pieces, i)]
        return pieces[starts[-1 - self.turns] if len(starts) > self.turns else 0 :]

    def kept(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """Return what may be seen later: the rest is forgotten."""
        return self.seen(pieces)


class Retrieval(Window):
    """A window, and of the turns before it the `most` that are nearest to it by BM25, in their order."""

    type: Literal["retrieval"] = "retrieval"  # type: ignore[assignment]
    turns: int = Field(default=0, ge=0)
    most: int = Field(default=2, ge=1)

    def seen(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """Return what is seen of what was perceived and replied."""
        recent = super().seen(pieces)
        before = _turns(pieces[: len(pieces) - len(recent)])
        if not before:
            return recent
        found = sorted(Index([_text(turn) for turn in before]).nearest(_text(recent), self.most))
        return [*(piece for place in found for piece in before[place]), *recent]

    def kept(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """Return everything: any of it may be found."""
        return pieces


class Overwrite(Settings):
    """What the agent wrote last, and what came after it (MemAgent, Yu et al. 2025).

    Before it is shown what is new, it is asked to write its memory anew, from the old one and what came since; that
    reply then stands for all that was before. Models from scratch write `length` out of `words` (the arena's unless
    given), others a line of at most `free` characters.
    """

    type: Literal["overwrite"] = "overwrite"
    words: tuple[str, ...] = ()
    length: int = Field(default=4, ge=1)
    free: int = Field(default=400, ge=0)

    def seen(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """Return what is seen of what was perceived and replied."""
        return self._from(1, pieces)

    def kept(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """Return what may be seen later: the rest is forgotten."""
        return self._from(1, pieces)

    @staticmethod
    def _from(note: int, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """Return what came with the last note, or the last but one, and after it."""
        places = [i for i, piece in enumerate(pieces) if isinstance(piece, Reply) and piece.note]
        return pieces[places[-note] :] if len(places) >= note else pieces


class State(Overwrite):
    """A state of constant size, written anew at each turn, between seeing and replying (MEM1, Zhou et al. 2025).

    Whoever replies sees the old state, what is new, and the new state; whoever writes the next one sees this one, the
    reply, and what is new.
    """

    type: Literal["state"] = "state"  # type: ignore[assignment]

    def seen(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """Return what is seen of what was perceived and replied."""
        return self._from(1 if _asked(pieces).data.get("aside") == Kind.NOTE.value else 2, pieces)

    def kept(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """Return what may be seen later: the rest is forgotten."""
        return self._from(2, pieces)


MemoryConfig = Annotated[Full | Window | Retrieval | Overwrite | State, Field(discriminator="type")]
_ADAPTER: Final[TypeAdapter[Any]] = TypeAdapter(MemoryConfig)


def note_spec(memory: Overwrite, vocabulary: Words) -> ReplySpec:
    """Return what an agent may write into its memory."""
    return ReplySpec(((memory.words or vocabulary),) * memory.length, free=memory.free)


class Remembered(Transcript):
    """A transcript of which a memory keeps a part: at each question it begins anew, with what is seen then."""

    __slots__ = ("_begin", "_memory", "_now", "_pieces")

    def __init__(self, begin: Open, memory: MemoryConfig) -> None:
        super().__init__()
        self._begin, self._memory = begin, memory
        self._pieces: list[Piece] = []
        self._now = begin()

    @property
    def kept(self) -> int:
        """How many envelopes and replies are kept."""
        return len(self._pieces)

    def hear(self, envelope: Envelope) -> None:
        """Keep what reached the agent, until it is asked."""
        self._pieces.append(envelope)

    def ask(self) -> None:
        """Lay out what is seen now, and the prompt for a reply."""
        seen = list(self._memory.seen(self._pieces))
        self._lay(seen)
        most = getattr(self._memory, "tokens", 0)
        while most and len(self.ids) > most and len(seen) > 1:
            del seen[0]
            self._lay(seen)
        aside = _asked(self._pieces).data.get("aside")
        self._pieces = list(self._memory.kept(self._pieces))
        self._pieces.append(Reply(aside == Kind.NOTE.value, aside is not None))

    def _lay(self, seen: Sequence[Piece]) -> None:
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

    def take_back(self, length: int) -> None:
        """Forget a reply that came too late: it was never given."""
        self._now.take_back(length)
        self._pieces.pop()

    def answered(self, text: str) -> None:
        """Note what was replied, as text."""
        self._own.text = text
        self._now.answered(text)

    def replied(self, tokens: Sequence[int]) -> None:
        """Note what was sampled."""
        self._own.tokens = tuple(tokens)
        self._now.replied(tokens)

    @property
    def _own(self) -> Reply:
        reply = self._pieces[-1]
        assert isinstance(reply, Reply)
        return reply


def remembering(begin: Open, memory: MemoryConfig | None) -> Transcript:
    """Return an empty transcript, of which the memory keeps a part."""
    return begin() if memory is None or isinstance(memory, Full) else Remembered(begin, memory)


def of(scenario: Mapping[str, Any], agent: str) -> MemoryConfig | None:
    """Return the memory that a logged scenario gives an agent."""
    config = scenario.get("memory", {}).get(agent)
    return None if config is None else _read(json.dumps(config))


@cache
def _read(config: str) -> Any:
    return _ADAPTER.validate_json(config)


def _asked(pieces: Sequence[Piece]) -> Envelope:
    """Return the newest view."""
    return next(piece for piece in reversed(pieces) if isinstance(piece, Envelope) and piece.kind is Kind.VIEW)


def _begins(pieces: Sequence[Piece], place: int) -> bool:
    """Whether a turn begins here: at the very first, or after a reply to the arena."""
    before = pieces[place - 1] if place else None
    return before is None or (isinstance(before, Reply) and not before.aside)


def _turns(pieces: Sequence[Piece]) -> list[Sequence[Piece]]:
    """Divide pieces into turns, each ending with a reply to the arena."""
    starts = [i for i in range(len(pieces)) if _begins(pieces, i)]
    return [pieces[start:stop] for start, stop in pairwise([*starts, len(pieces)])]


def _text(pieces: Sequence[Piece]) -> str:
    return " ".join(render(piece) for piece in pieces if isinstance(piece, Envelope))
