"""Reference game: the listener selects a candidate by its position."""

from __future__ import annotations

from collections.abc import Mapping

from typing_extensions import override

from arenas.core import Arena, Outcome
from arenas.games.signalling.discrimination import LISTENER, SPEAKER, Discrimination
from arenas.scripted import Memory, Script, first
from arenas.spec import ReplySpec, Words, choose, objects, symbols


class Reference(Discrimination):
    """Reference game; the listener names the target's position, and a case is a target."""

    rules = """
    Reference game: the speaker sees an object, the listener sees it among d others and says at which position it is.

    Objects have `attributes` attributes with one of `values` values each. The candidates are distinct and in random order.
    Both get 1 if the position is right, else 0. (Lazaridou, Peysakhovich & Baroni 2017; the discrimination game of EGG's
    `basic_games`, Kharitonov et al. 2019, is the one with d = 4.)

    One target among `distractors` others; messages of `length` symbols out of `alphabet`. A case is a target.
    """
    metadata = Arena.metadata | {"name": "reference_v0"}

    def __init__(
        self, attributes: int = 2, values: int = 8, distractors: int = 4, length: int = 3, alphabet: int = 12
    ) -> None:
        self.positions = symbols("p", distractors + 1)
        super().__init__(
            *(attributes, values, distractors, length, alphabet),
            words=("target", "among", *objects(attributes, values).alphabet),
            view_words=3 + length + (distractors + 1) * (attributes + 1),
        )

    @override
    def _listener_specs(self) -> ReplySpec:
        return choose(self.positions)

    @override
    def lay(self, case: int) -> None:
        candidates, target = self._draw_candidates(case)
        self.target, self.truth = " ".join(candidates[target]), self.positions[target]
        words = (
            word for position, values in zip(self.positions, candidates, strict=True) for word in (position, *values)
        )
        self.among = " ".join(words)

    @override
    def view(self, agent: str) -> str:
        # The speaker sees only the target, the listener only the candidates.
        return f"target {self.target}" if agent == SPEAKER else f"among {self.among}"

    @override
    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        if SPEAKER in replies:
            self.stage = LISTENER
            return Outcome()
        hit = float(replies[LISTENER] == (self.truth,))
        return Outcome({SPEAKER: hit, LISTENER: hit}, done=True)

    @override
    def hidden(self) -> str:
        return f"target {self.truth} among {self.among}"

    @override
    def scripts(self) -> Mapping[str, Script]:
        # The message is the target's number modulo the messages; the listener takes the first candidate it fits.

        def full(memory: Memory) -> Words:
            if memory.agent == SPEAKER:
                return self.code(memory.view[1:])
            size = 1 + len(self.objects.steps)
            candidates = [memory.view[i : i + size] for i in range(1, len(memory.view), size)]
            message = memory.heard[0][1]
            return (next(position for position, *words in candidates if self.code(tuple(words)) == message),)

        return {"silent": first, "full": full}
