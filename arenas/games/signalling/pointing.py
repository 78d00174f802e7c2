"""Reference game in which the listener selects a candidate by its values."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import ClassVar

from arenas.core import Anchors, Arena, Outcome
from arenas.errors import ArenaError
from arenas.games.signalling.reference import LISTENER, SPEAKER, best_score
from arenas.scripted import Memory, Script, first
from arenas.spec import ReplySpec, Words, choose, fill, objects, say, symbols


class Pointing(Arena):
    """One target among `distractors` others; messages of `length` symbols out of `alphabet`. A case is a target.

    `shown`: whether the listener's view lists the candidates that are left. Without, it knows of them only which values
    it may name: the same game to who understands the message, and easier to learn, as a message alone stands out more.
    `once`: one reply, with a value of each attribute.
    """

    rules = """
    Pointing: the speaker sees an object, the listener points it out among d others by its values.

    The game of `reference`, whose listener gives a position, for listeners who need only know what messages mean. Objects
    have `attributes` attributes with one of `values` values each. The candidates are distinct and in random order. The
    listener is asked for the attribute in which they differ most, may name the values that occur there, and the candidates
    with the named value are left; and so on until one is left. Both get 1 if that is the target, else 0. Or it names values
    of all attributes at `once`, and a candidate that has most of them is chosen: of n that have as many, each with chance
    1/n, which is what both get if the target is among them. (Lazaridou, Peysakhovich & Baroni 2017, and the `basic_games`
    of EGG, Kharitonov et al. 2019, have the game with positions.)

    One target among `distractors` others; messages of `length` symbols out of `alphabet`. A case is a target.

    `shown`: whether the listener's view lists the candidates that are left. Without, it knows of them only which values
    it may name: the same game to who understands the message, and easier to learn, as a message alone stands out more.
    `once`: one reply, with a value of each attribute.
    """
    metadata = Arena.metadata | {"name": "pointing_v0"}
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
        attributes: int = 2,
        values: int = 8,
        distractors: int = 4,
        length: int = 3,
        alphabet: int = 12,
        shown: bool = True,
        once: bool = False,
    ) -> None:
        self.objects = objects(attributes, values)
        self.cases = values**attributes
        if not 1 <= distractors < self.cases or length < 1 or alphabet < 1:
            raise ArenaError(
                f"pointing needs length >= 1, alphabet >= 1 and 1 to {self.cases - 1} distractors, "
                f"not length={length}, alphabet={alphabet}, distractors={distractors}"
            )
        self.messages, self.candidates, self.shown, self.once = alphabet**length, distractors + 1, shown, once
        naming = self.objects if once else tuple(map(choose, self.objects.steps))
        super().__init__(
            {SPEAKER: say(symbols("m", alphabet), length), LISTENER: naming},
            words=("target", "among"),
            view_words=3 + length + (distractors + 2) * attributes,
        )

    def lay(self, case: int) -> None:
        """Show the target, and draw the distractors and the order from the episode's seed."""
        others = self._rng.choice(self.cases - 1, self.candidates - 1, replace=False)
        among = [int(other) + (int(other) >= case) for other in others]
        among.insert(int(self._rng.integers(self.candidates)), case)
        self.target, self.left = self.objects.words(case), tuple(map(self.objects.words, among))
        self.order: list[int] = self._rng.permutation(len(self.objects.steps)).tolist()
        self.among, self.stage = f"among {' '.join(chain(*self.left))}", SPEAKER

    def acting(self) -> tuple[str, ...]:
        """The speaker, then the listener."""
        return (self.stage,)

    @property
    def asked(self) -> int:
        """The attribute in which the candidates that are left differ most; of several, one that was drawn."""
        several = [len(set(values)) for values in zip(*self.left, strict=True)]
        return max(self.order, key=several.__getitem__)

    def spec(self, agent: str) -> ReplySpec:
        """A message, or values that candidates have."""
        if agent == SPEAKER:
            return self.replies[SPEAKER][0]
        here = set(chain(*self.left))
        asked = self.objects.steps if self.once else (self.objects.steps[self.asked],)
        return fill(*(tuple(value for value in step if value in here) for step in asked))

    def view(self, agent: str) -> str:
        """The speaker sees only the target, the listener only the candidates that are left."""
        if agent == SPEAKER:
            return f"target {' '.join(self.target)}"
        return " ".join(["among", *(chain(*self.left) if self.shown else ())])

    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        """Keep the candidates with most of what was named; pay at `once`, or if only the target is left, or not it."""
        if SPEAKER in replies:
            self.stage = LISTENER
            return Outcome()
        named = [len({*words}.intersection(replies[LISTENER])) for words in self.left]
        self.left = tuple(words for words, count in zip(self.left, named, strict=True) if count == max(named))
        if self.target in self.left and len(self.left) > 1 and not self.once:
            return Outcome()
        hit = (self.target in self.left) / len(self.left)
        return Outcome({SPEAKER: hit, LISTENER: hit}, done=True)

    def hidden(self) -> str:
        """The target and the candidates."""
        return f"target {' '.join(self.target)} {self.among}"

    def anchors(self) -> Anchors:
        """Without a message each candidate is as likely; with one, see `best_score`: a bound if none are `shown`."""
        blind = 1 / self.candidates
        return Anchors(blind, blind, full=best_score(self.cases, self.messages, self.candidates - 1))

    def scripts(self) -> Mapping[str, Script]:
        """The message is the target's number modulo the messages; the listener means the first candidate it fits."""
        messages, objects = self.replies[SPEAKER][0], self.objects

        def message(words: Words) -> Words:
            return messages.words(objects.index(words) % messages.size)

        def code(memory: Memory) -> Words:
            if memory.agent == SPEAKER:
                return message(memory.view[1:])
            heard = memory.heard[0][1]
            left = zip(*[iter(memory.view[1:])] * len(objects.steps), strict=True)
            fits = (words for words in left if message(words) == heard)
            meant = next(fits) if self.shown else objects.words(messages.index(heard) % self.cases)
            return tuple(next((value for value in meant if value in step), step[0]) for step in memory.spec.steps)

        reached = self.shown or self.messages >= self.cases
        return {"silent": first, "full" if reached else "best": code}
