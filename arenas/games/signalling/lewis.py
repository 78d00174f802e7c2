"""Lewis signalling game."""

from collections.abc import Mapping
from typing import ClassVar

from arenas.core import Anchors, Arena, Outcome
from arenas.errors import ArenaError
from arenas.scripted import Script, first
from arenas.spec import Words, choose, say, symbols

SENDER, RECEIVER = "sender_0", "receiver_0"


class Lewis(Arena):
    """Lewis game with n equally likely states and k symbols."""

    rules = """Lewis signalling: the sender sees one of n states and says one of k symbols; the receiver names the state.

    Both get 1 if the receiver is right, else 0. (Lewis 1969, Convention; Skyrms 2010, Signals.)

    n equally likely states, k symbols."""
    metadata = Arena.metadata | {"name": "lewis_v0"}
    tags = ("cooperative", "communication")
    ranges: ClassVar[Mapping[str, tuple[int, int]]] = {"n": (2, 30), "k": (1, 30)}

    def __init__(self, n: int = 4, k: int = 4) -> None:
        if n < 2 or k < 1:
            raise ArenaError(f"lewis needs n >= 2 states and k >= 1 symbols, not n={n}, k={k}")
        self.cases, self.k, self.states = n, k, symbols("s", n)
        super().__init__({SENDER: say(symbols("m", k), 1), RECEIVER: choose(self.states)}, words=("state", "which"))

    def lay(self, case: int) -> None:
        """Draw the state."""
        self.truth, self.stage = self.states[case], SENDER

    def acting(self) -> tuple[str, ...]:
        """The sender, then the receiver."""
        return (self.stage,)

    def view(self, agent: str) -> str:
        """The sender sees the state."""
        return f"state {self.truth}" if agent == SENDER else "which"

    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        """Pay both when the guess is right."""
        self.stage = RECEIVER
        hit = float(replies.get(RECEIVER) == (self.truth,))
        return Outcome(dict.fromkeys(self.replies, hit), done=RECEIVER in replies)

    def hidden(self) -> str:
        """The state."""
        return f"state {self.truth}"

    def anchors(self) -> Anchors:
        """Without a signal the guess is right once in n; k symbols distinguish min(k, n) states."""
        return Anchors(random=1 / self.cases, silent=1 / self.cases, full=min(self.k, self.cases) / self.cases)

    def scripts(self) -> Mapping[str, Script]:
        """The sender says the state's number, at most the last symbol; the receiver names the state of that number."""
        return {"silent": first, "full": lambda m: m.spec.words(min(int(m.seen[0][1][-1][1:]), m.spec.size - 1))}
