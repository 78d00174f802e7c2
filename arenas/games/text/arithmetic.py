"""Arithmetic: name the result of a drawn sum, by heart or with a tool."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from math import prod
from typing import ClassVar, Final

from typing_extensions import override

from arenas.core import Anchors, Arena, Outcome
from arenas.errors import ArenaError
from arenas.scripted import Script
from arenas.spec import Words, choose

SOLVER: Final = "solver_0"
SIGNS: Final = ("+", "-", "*")
MOST_CASES: Final = 1 << 16


def result(sum_: Words) -> int:
    """Evaluate alternating numbers and signs; products come first."""
    total, sign, factors = 0, 1, [int(sum_[0])]
    for operator, number in zip(sum_[1::2], sum_[2::2], strict=True):
        if operator == "*":
            factors.append(int(number))
        else:
            total += sign * prod(factors)
            sign, factors = 1 if operator == "+" else -1, [int(number)]
    return total + sign * prod(factors)


class Arithmetic(Arena):
    """Arithmetic with `terms` numbers from 0 to `most` and signs out of `signs` between them.

    A reply in plain text has at most `free` characters; with 0 the solver chooses one of the possible results.
    """

    rules = """
    Arithmetic: the solver is shown a sum and replies with its result, a whole number, for 1 if it is right, else 0.

    `terms` numbers from 0 to `most`, with signs out of `signs` between them: + and - unless given.

    A reply in plain text has at most `free` characters; with 0 one of the possible results is chosen.
    """
    metadata = Arena.metadata | {"name": "arithmetic_v0", "is_parallelizable": True}
    tags = ("cooperative", "tool")
    ranges: ClassVar[Mapping[str, tuple[int, int]]] = {"most": (1, 50), "terms": (2, 2)}

    def __init__(self, most: int = 20, terms: int = 2, signs: str = "+-", free: int = 40) -> None:
        allowed = bool(signs) and set(signs) <= set(SIGNS) and len(set(signs)) == len(signs)
        cases = (most + 1) ** terms * len(signs) ** (terms - 1) if most >= 1 and 2 <= terms <= 8 else 0
        if not allowed or not 0 < cases <= MOST_CASES or free < 0:
            raise ArenaError(
                f"arithmetic needs most >= 1, 2 to 8 terms, signs out of {''.join(SIGNS)}, and at most {MOST_CASES} "
                f"sums, and free >= 0, not {most=}, {terms=}, {signs=}, {free=}"
            )
        numbers = tuple(map(str, range(most + 1)))
        self.cases, self.places = cases, (numbers, *((tuple(signs), numbers) * (terms - 1)))
        self.results = tuple(map(str, sorted({result(words) for words in product(*self.places)})))
        super().__init__({SOLVER: choose(self.results, free=free)}, words=(*numbers, *signs), view_words=2 * terms)

    @override
    def lay(self, case: int) -> None:
        words: list[str] = []
        for place in reversed(self.places):
            case, digit = divmod(case, len(place))
            words.append(place[digit])
        self.sum = tuple(reversed(words))

    @override
    def acting(self) -> tuple[str, ...]:
        return (SOLVER,)

    @override
    def view(self, agent: str) -> str:
        return " ".join(self.sum)

    @override
    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        # The last word of a reply is the answer.
        right = replies[SOLVER][-1].rstrip(".") == str(result(self.sum))
        return Outcome({SOLVER: float(right)}, done=True)

    @override
    def hidden(self) -> str:
        return str(result(self.sum))

    @override
    def anchors(self) -> Anchors:
        # A random reply is right once in the number of results; nobody needs a message.
        return Anchors(random=1 / len(self.results), silent=1.0, full=1.0)

    @override
    def scripts(self) -> Mapping[str, Script]:
        return {"full": lambda memory: (str(result(memory.view)),), "silent": lambda m: (str(result(m.view)),)}
