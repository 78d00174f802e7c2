"""Reference game: the listener selects a candidate by its position."""

from __future__ import annotations

from collections.abc import Mapping
from math import comb
from typing import ClassVar, Final

from arenas.core import Anchors, Arena, Outcome
from arenas.errors import ArenaError
from arenas.scripted import Memory, Script, first
from arenas.spec import Words, choose, objects, say, symbols

SPEAKER: Final = "speaker_0"
LISTENER: Final = "listener_0"


def best_score(objects: int, messages: int, distractors: int) -> float:
    """Return the chance of a right choice under the best code that has `messages` messages for `objects` objects.

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


class Reference(Arena):
    """One target among `distractors` others; messages of `length` symbols out of `alphabet`. A case is a target."""

    rules = """
    Reference game: the speaker sees an object, the listener sees it among d others and says at which position it is.

    Objects have `attributes` attributes with one of `values` values each. The candidates are distinct and in random order.
    Both get 1 if the position is right, else 0. (Lazaridou, Peysakhovich & Baroni 2017; the discrimination game of EGG's
    `basic_games`, Kharitonov et al. 2019, is the one with d = 4.)

    One target among `distractors` others; messages of `length` symbols out of `alphabet`. A case is a target.
    """
    metadata = Arena.metadata | {"name": "reference_v0"}
    tags = ("cooperative", "communication")
    ranges: ClassVar[Mapping[str, tuple[int, int]]] = {
        "attributes": (2, 6),
        "values": (4, 12),
        "distractors": (1, 15),
        "length": (1, 5),
        "alphabet": (1, 16),
    }

    def __init__(
        self, attributes: int = 2, values: int = 8, distractors: int = 4, length: int = 3, alphabet: int = 12
    ) -> None:
        self.objects = objects(attributes, values)
        self.cases = values**attributes
        if not 1 <= distractors < self.cases or length < 1 or alphabet < 1:
            raise ArenaError(
                f"reference needs length >= 1, alphabet >= 1 and 1 to {self.cases - 1} distractors, "
                f"not length={length}, alphabet={alphabet}, distractors={distractors}"
            )
        self.messages = alphabet**length
        self.positions = symbols("p", distractors + 1)
        super().__init__(
            {SPEAKER: say(symbols("m", alphabet), length), LISTENER: choose(self.positions)},
            words=("target", "among", *self.objects.alphabet),
            view_words=3 + length + (distractors + 1) * (attributes + 1),
        )

    def lay(self, case: int) -> None:
        """Show the target, and draw the distractors and the order from the episode's seed."""
        others = self._rng.choice(self.cases - 1, len(self.positions) - 1, replace=False)
        candidates = [int(other) + (int(other) >= case) for other in others]
        place = int(self._rng.integers(len(self.positions)))
        candidates.insert(place, case)
        self.target, self.truth = " ".join(self.objects.words(case)), self.positions[place]
        shown = zip(self.positions, map(self.objects.words, candidates), strict=True)
        self.candidates = " ".join(word for position, words in shown for word in (position, *words))
        self.stage = SPEAKER

    def acting(self) -> tuple[str, ...]:
        """The speaker, then the listener."""
        return (self.stage,)

    def view(self, agent: str) -> str:
        """The speaker sees only the target, the listener only the candidates."""
        return f"target {self.target}" if agent == SPEAKER else f"among {self.candidates}"

    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        """Pay both when the position is right."""
        if SPEAKER in replies:
            self.stage = LISTENER
            return Outcome()
        hit = float(replies[LISTENER] == (self.truth,))
        return Outcome({SPEAKER: hit, LISTENER: hit}, done=True)

    def hidden(self) -> str:
        """Where the target is, and the candidates."""
        return f"target {self.truth} among {self.candidates}"

    def anchors(self) -> Anchors:
        """Without a message each position is as likely; with one, see `best_score`."""
        blind = 1 / len(self.positions)
        return Anchors(blind, blind, full=best_score(self.cases, self.messages, len(self.positions) - 1))

    def scripts(self) -> Mapping[str, Script]:
        """The message is the target's number modulo the messages; the listener takes the first candidate it fits."""
        messages, objects = self.replies[SPEAKER][0], self.objects

        def message(words: Words) -> Words:
            return messages.words(objects.index(words) % messages.size)

        def full(memory: Memory) -> Words:
            if memory.agent == SPEAKER:
                return message(memory.view[1:])
            size = 1 + len(objects.steps)
            candidates = [memory.view[i : i + size] for i in range(1, len(memory.view), size)]
            return (next(place for place, *words in candidates if message(tuple(words)) == memory.heard[0][1]),)

        return {"silent": first, "full": full}
