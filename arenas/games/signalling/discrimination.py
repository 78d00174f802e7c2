"""Discrimination games: a speaker tells a listener which of several objects is the target."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from math import comb
from typing import ClassVar, Final

from typing_extensions import override

from arenas.core import Anchors, Arena
from arenas.errors import ArenaError
from arenas.spec import ReplySpec, Words, objects, say, symbols

SPEAKER: Final = "speaker_0"
LISTENER: Final = "listener_0"


def best_score(objects: int, messages: int, distractors: int) -> float:
    """Return the accuracy of the best code with `messages` messages for `objects` objects.

    A code sorts the objects into classes, and the listener can only guess among the candidates of the class it heard.
    A class with c of the d+1 candidates holds the target with probability c/(d+1), and the guess is then right once in
    c: so every class that is present among the candidates is worth 1/(d+1). A class of n out of N objects is absent
    with probability C(N-n, d+1) / C(N, d+1), which is convex in n, so classes as equal as possible are best.
    """
    candidates = distractors + 1
    classes = min(messages, objects)
    size, larger = divmod(objects, classes)
    absent = (classes - larger) * comb(objects - size, candidates)
    if larger:
        absent += larger * comb(objects - size - 1, candidates)
    deals = comb(objects, candidates)
    return (classes * deals - absent) / (deals * candidates)


class Discrimination(Arena):
    """Base of games with one target among `distractors` other objects; a case is a target.

    Args:
        attributes: number of attributes of an object.
        values: number of values of each attribute.
        distractors: number of objects that the listener sees beside the target.
        length: symbols per message.
        alphabet: number of symbols.
        words: of views and `hidden`, beside those of replies.
        view_words: maximum words of a view.
    """

    tags = ("cooperative", "communication")
    ranges: ClassVar[Mapping[str, tuple[int, int]]] = {
        "attributes": (2, 6),
        "values": (4, 12),
        "distractors": (1, 15),
        "length": (1, 5),
        "alphabet": (1, 16),
    }

    def __init__(
        self,
        attributes: int,
        values: int,
        distractors: int,
        length: int,
        alphabet: int,
        *,
        words: Sequence[str],
        view_words: int,
    ) -> None:
        self.objects = objects(attributes, values)
        self.cases = values**attributes
        if not 1 <= distractors < self.cases or length < 1 or alphabet < 1:
            raise ArenaError(
                f"{self.name} needs length >= 1, alphabet >= 1 and 1 to {self.cases - 1} distractors, "
                f"not length={length}, alphabet={alphabet}, distractors={distractors}"
            )
        self.messages, self.candidates = say(symbols("m", alphabet), length), distractors + 1
        super().__init__({SPEAKER: self.messages, LISTENER: self._listener_specs()}, words, view_words)

    @abstractmethod
    def _listener_specs(self) -> ReplySpec | Sequence[ReplySpec]:
        """Return the reply specs of the listener."""

    def _draw_candidates(self, case: int) -> tuple[list[Words], int]:
        """Draw the distractors and the order from the episode's seed; return all candidates and the target's index."""
        others = self._rng.choice(self.cases - 1, self.candidates - 1, replace=False)
        candidates = [int(other) + (int(other) >= case) for other in others]
        target = int(self._rng.integers(self.candidates))
        candidates.insert(target, case)
        self.stage = SPEAKER
        return [self.objects.words(candidate) for candidate in candidates], target

    @override
    def acting(self) -> tuple[str, ...]:
        return (self.stage,)

    @override
    def anchors(self) -> Anchors:
        # Without a message all candidates are equally likely; with one, see `best_score`.
        blind = 1 / self.candidates
        return Anchors(blind, blind, full=best_score(self.cases, self.messages.size, self.candidates - 1))

    def code(self, words: Words) -> Words:
        """Return the message for an object in a simple code: the object's number modulo the number of messages."""
        return self.messages.words(self.objects.index(words) % self.messages.size)
