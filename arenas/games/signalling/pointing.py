"""Reference game in which the listener selects a candidate by its values."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

from typing_extensions import override

from arenas.core import Arena, Outcome
from arenas.games.signalling.discrimination import LISTENER, SPEAKER, Discrimination
from arenas.scripted import Memory, Script, first
from arenas.spec import ReplySpec, Words, choose, fill


class Pointing(Discrimination):
    """Pointing game: one target among `distractors` others; messages of `length` symbols; a case is a target.

    `shown`: whether the listener's view lists the remaining candidates. Without, it learns only which values it may
    name: the same game for a listener that understands the message, and easier to learn, as a message alone stands out.
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
        self.shown, self.once = shown, once
        super().__init__(
            *(attributes, values, distractors, length, alphabet),
            words=("target", "among"),
            view_words=3 + length + (distractors + 2) * attributes,
        )

    @override
    def _listener_specs(self) -> ReplySpec | tuple[ReplySpec, ...]:
        return self.objects if self.once else tuple(map(choose, self.objects.steps))

    @override
    def lay(self, case: int) -> None:
        candidates, target = self._draw_candidates(case)
        self.target, self.left = candidates[target], tuple(candidates)
        self.order: list[int] = self._rng.permutation(len(self.objects.steps)).tolist()
        self.among = f"among {' '.join(chain(*self.left))}"

    @property
    def asked(self) -> int:
        """Index of the attribute in which the remaining candidates differ most; ties are drawn."""
        several = [len(set(values)) for values in zip(*self.left, strict=True)]
        return max(self.order, key=several.__getitem__)

    @override
    def spec(self, agent: str) -> ReplySpec:
        if agent == SPEAKER:
            return self.replies[SPEAKER][0]
        here = set(chain(*self.left))
        slots = self.objects.steps if self.once else (self.objects.steps[self.asked],)
        return fill(*(tuple(value for value in step if value in here) for step in slots))

    @override
    def view(self, agent: str) -> str:
        # The speaker sees only the target, the listener only the remaining candidates.
        if agent == SPEAKER:
            return f"target {' '.join(self.target)}"
        return " ".join(["among", *(chain(*self.left) if self.shown else ())])

    @override
    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        # Keep the candidates that match the most values named; pay at `once`, or when only the target or only others
        # are left.
        if SPEAKER in replies:
            self.stage = LISTENER
            return Outcome()
        named = [len({*words}.intersection(replies[LISTENER])) for words in self.left]
        self.left = tuple(words for words, count in zip(self.left, named, strict=True) if count == max(named))
        if self.target in self.left and len(self.left) > 1 and not self.once:
            return Outcome()
        hit = (self.target in self.left) / len(self.left)
        return Outcome({SPEAKER: hit, LISTENER: hit}, done=True)

    @override
    def hidden(self) -> str:
        return f"target {' '.join(self.target)} {self.among}"

    @override
    def scripts(self) -> Mapping[str, Script]:
        # The message is the target's number modulo the messages; the listener means the first candidate it fits.

        def listen(memory: Memory) -> Words:
            if memory.agent == SPEAKER:
                return self.code(memory.view[1:])
            message = memory.heard[0][1]
            meant = self.objects.words(self.messages.index(message) % self.cases)
            if self.shown:
                left = zip(*[iter(memory.view[1:])] * len(self.objects.steps), strict=True)
                meant = next(words for words in left if self.code(words) == message)
            return tuple(next((value for value in meant if value in step), step[0]) for step in memory.spec.steps)

        reached = self.shown or self.messages.size >= self.cases
        return {"silent": first, "full" if reached else "best": listen}
