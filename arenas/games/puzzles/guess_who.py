"""Guess who: a dialogue of questions, answers and a guess."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from math import prod
from typing import ClassVar, Final

from typing_extensions import override

from arenas.core import Anchors, Arena, Outcome
from arenas.errors import ArenaError
from arenas.scripted import Memory, Script, first
from arenas.spec import ReplySpec, Words, fill, say

ASKER: Final = "asker_0"
ANSWERER: Final = "answerer_0"
WORLD: Final = (  # hair, eyes, head, face, height, clothes
    ("red", "black", "blond", "grey"),
    ("blue", "green", "brown", "hazel"),
    ("hat", "cap", "scarf", "bald"),
    ("beard", "glasses", "freckles", "shaved"),
    ("tall", "short", "medium", "tiny"),
    ("shirt", "dress", "coat", "robe"),
)


@cache
def most_found(characters: int, questions: int, price: float) -> tuple[float, int]:
    """Return the best total value of `characters` under any code, and how many to split off (0: guess).

    A guess is right for one of the m characters that are left. A question splits them into s and m - s and costs its
    price for each: f(m, q) = max(1, max_s f(s, q - 1) + f(m - s, q - 1) - price m). No code does better, as an answer
    has only two forms.
    """
    best, part = 1.0, 0
    for s in range(1, characters // 2 + 1) if questions else ():
        both = most_found(s, questions - 1, price)[0] + most_found(characters - s, questions - 1, price)[0]
        if both - price * characters > best + 1e-12:
            best, part = both - price * characters, s
    return best, part


@cache
def plan(left: tuple[int, ...], questions: int, price: float) -> tuple[float, int]:
    """Return the value of honest play, and the attribute to ask about next (-1: guess now).

    left[i] values of attribute i are possible. A yes leaves one of them, a no all others.
    """
    best, ask = 1 / prod(left), -1
    for i, values in enumerate(left) if questions else ():
        if values > 1:
            yes = plan((*left[:i], 1, *left[i + 1 :]), questions - 1, price)[0]
            no = plan((*left[:i], values - 1, *left[i + 1 :]), questions - 1, price)[0]
            value = yes / values + no * (1 - 1 / values) - price
            if value > best + 1e-12:
                best, ask = value, i
    return best, ask


class GuessWho(Arena):
    """Guess who with `attributes` of `values` values each and a limit on questions; a case is a character."""

    rules = """
    Guess who: one agent sees a character, the other finds out by questions that are answered with yes or no.

    A character has one value of each attribute, and all combinations are equally likely. In each of `rounds` rounds the
    asker says one value ("red") or nothing; the answerer says "yes" or "no". When the asker says nothing, or after the last
    round, it describes the character. Both get 1 if every attribute is right, less `price` for each question. (The board
    game, in a closed world; N characters take ceil(log2 N) questions.)

    `attributes` of `values` values each, so many questions at most; a case is a character.
    """
    metadata = Arena.metadata | {"name": "guess_who_v0"}
    tags = ("cooperative", "communication", "planning")
    ranges: ClassVar[Mapping[str, tuple[int, int]]] = {"attributes": (1, 4), "values": (2, 4), "rounds": (1, 8)}

    def __init__(self, attributes: int = 3, values: int = 2, rounds: int = 3, price: float = 0.05) -> None:
        if not (1 <= attributes <= len(WORLD) and 2 <= values <= 4 and rounds >= 1 and 0 <= price < 1):
            raise ArenaError(
                f"guess_who needs 1 to {len(WORLD)} attributes, 2 to 4 values, rounds >= 1 and a price from 0 to below "
                f"1, not {attributes=}, {values=}, {rounds=} and {price=}"
            )
        self.world = tuple(several[:values] for several in WORLD[:attributes])
        self.describe = fill(*self.world)
        self.cases, self.rounds, self.price = self.describe.size, rounds, price
        self.ask = say(tuple(word for several in self.world for word in several), 1, least=0)
        super().__init__(
            {ASKER: (self.ask, self.describe), ANSWERER: say(("yes", "no"), 1)},
            words=("character", "ask", "answer", "describe"),
            view_words=8 + attributes + 4 * rounds,
        )

    @override
    def lay(self, case: int) -> None:
        self.truth = self.describe.words(case)
        self.stage, self.asked = "ask", 0

    @override
    def acting(self) -> tuple[str, ...]:
        return (ANSWERER,) if self.stage == "answer" else (ASKER,)

    @override
    def spec(self, agent: str) -> ReplySpec:
        return self.replies[agent][int(self.stage == "describe")]

    @override
    def view(self, agent: str) -> str:
        # The current task; the answerer sees the character, once.
        return self.hidden() if self.stage == "answer" and self.asked == 1 else self.stage

    @override
    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        if self.stage == "describe":
            return Outcome(dict.fromkeys(self.replies, float(replies[ASKER] == self.truth)), done=True)
        if self.stage == "answer":
            self.stage = "ask" if self.asked < self.rounds else "describe"
            return Outcome()
        question = bool(replies[ASKER])
        self.asked += question
        self.stage = "answer" if question else "describe"
        return Outcome(dict.fromkeys(self.replies, -self.price * question))

    @override
    def hidden(self) -> str:
        return f"character {' '.join(self.truth)}"

    @override
    def anchors(self) -> Anchors:
        # Without answers, guess at once. Random questions are silence as often as any other reply; see `most_found`.
        guess = 1 / self.cases
        going_on = 1 - 1 / self.ask.size
        questions = sum(going_on**i for i in range(1, self.rounds + 1))
        full = most_found(self.cases, self.rounds, self.price)[0] / self.cases
        return Anchors(guess - self.price * questions, guess, full)

    @override
    def scripts(self) -> Mapping[str, Script]:
        # `best`: literal questions, those of `plan`. `full`: any code; each answer splits off a number of characters.

        def best(memory: Memory) -> Words:
            if memory.agent == ANSWERER:
                return ("yes",) if memory.heard[-1][1][0] in memory.views[0] else ("no",)
            left = self._left(memory)
            asking = memory.spec.kind == "say"
            attribute = plan(tuple(map(len, left)), self.rounds - len(memory.heard), self.price)[1] if asking else -1
            if attribute >= 0:
                return left[attribute][:1]
            return () if asking else tuple(values[0] for values in left)

        def full(memory: Memory) -> Words:
            if memory.agent == ANSWERER:
                low, part = self._parted(memory.replied)
                return ("yes",) if self.describe.index(memory.views[0][1:]) < low + part else ("no",)
            low, part = self._parted([words for _, words in memory.heard])
            return self.describe.words(low) if memory.spec.kind == "move" else memory.spec.words(int(part > 0))

        return {"silent": first, "best": best, "full": full}

    def _parted(self, answers: Sequence[Words]) -> tuple[int, int]:
        """Return the first character that answers leave, and how many a next yes leaves (0: no more questions)."""
        low, left = 0, self.cases
        for i, answer in enumerate(answers):
            part = most_found(left, self.rounds - i, self.price)[1]
            low, left = (low, part) if answer == ("yes",) else (low + part, left - part)
        return low, most_found(left, self.rounds - len(answers), self.price)[1]

    def _left(self, memory: Memory) -> list[Words]:
        """Return the values of each attribute that honest answers leave."""
        left = list(self.world)
        for question, (_, answer) in zip(memory.replied, memory.heard, strict=False):
            i = next(i for i, values in enumerate(self.world) if question[0] in values)
            left[i] = question if answer == ("yes",) else tuple(word for word in left[i] if word != question[0])
        return left
