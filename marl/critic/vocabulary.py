"""What a critic's token ids stand for: marks, agents and words of the arena, or words by their hash."""

from __future__ import annotations

from collections.abc import Sequence

from arenas.spec import UNKNOWN
from marl.context.transcript import BOS, PAD
from marl.errors import UserError
from protocols.draws import key
from protocols.envelope import Kind

HEARD = "<heard>"
MARKS = {kind: f"<{kind.value}>" for kind in (Kind.WORLD, Kind.VIEW, Kind.SAY, Kind.MOVE)}
MARKS |= {Kind.CALL: MARKS[Kind.MOVE], Kind.RESULT: MARKS[Kind.SAY], Kind.NOTE: MARKS[Kind.MOVE]}
"""Kind of an envelope -> the token that begins it."""


class Vocabulary:
    """Words -> token ids of a critic from scratch.

    Args:
        agents: names of the agents.
        words: the words of the arena.
        buckets: words outside the vocabulary share this many ids, by their hash; 0: they are an error.
    """

    def __init__(self, agents: Sequence[str], words: Sequence[str], buckets: int = 0) -> None:
        self.buckets = buckets
        self.index = {w: i for i, w in enumerate(dict.fromkeys([PAD, BOS, *MARKS.values(), HEARD, *agents, *words]))}
        self._marks = frozenset((PAD, BOS, *MARKS.values(), HEARD))

    def __len__(self) -> int:
        return len(self.index) + self.buckets

    def encode(self, text: str, said: bool = False) -> Sequence[int]:
        """Return the ids of a piece of log text; raises UserError for a word outside the vocabulary.

        Text that agents `said` where talk is free may hold any word: unknown words become `<unk>`. The critic's own
        marks become `<unk>` or, where the arena has none, `<pad>`, which stands for nothing. With `buckets` an unknown
        word gets the id of its hash instead.
        """
        if self.buckets:
            hidden = self._marks if said else frozenset()
            return [self._hash(word) if word in hidden else self._index_or_hash(word) for word in text.split()]
        words = text.split()
        if said:
            unknown = self.index.get(UNKNOWN)
            if unknown is not None:
                return [unknown if word in self._marks else self.index.get(word, unknown) for word in words]
            words = [PAD if word in self._marks else word for word in words]
        try:
            return [self.index[word] for word in words]
        except KeyError as error:
            raise UserError(f"the critic does not know the word {error}: it was made for another arena") from None

    def _index_or_hash(self, word: str) -> int:
        index = self.index.get(word)
        return self._hash(word) if index is None else index

    def _hash(self, word: str) -> int:
        return len(self.index) + key("critic", word) % self.buckets
