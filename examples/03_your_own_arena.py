"""Write an arena, check it, and train agents in it: `python examples/03_your_own_arena.py`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import arenas
from arenas import Anchors, Arena, Outcome
from arenas.spec import Words, choose, say, symbols
from arenas.testing.suite import check_arena
from marl.rundir import RunDir
from trainers.run import RunConfig, run

SPEAKERS = ("speaker_0", "speaker_1")
LISTENER = "listener_0"
DIGITS = symbols("d", 3)


class Adder(Arena):
    """Two speakers see a digit each, 0 to 2, and say a symbol at once; all are paid 1 if the listener names the sum."""

    metadata = Arena.metadata | {"name": "adder_v0"}
    tags = ("cooperative", "communication")
    cases = 9  # equally likely deals

    def __init__(self) -> None:
        talk = say(symbols("m", 3), 1)
        super().__init__(dict.fromkeys(SPEAKERS, talk) | {LISTENER: choose(symbols("s", 5))}, (*DIGITS, "digit", "sum"))

    def lay(self, case: int) -> None:
        """Deal two digits."""
        self.digits = divmod(case, 3)
        self.stage: tuple[str, ...] = SPEAKERS

    def acting(self) -> tuple[str, ...]:
        """Both speakers, then the listener."""
        return self.stage

    def view(self, agent: str) -> str:
        """A speaker sees its digit; what was said reaches the listener over the channel, not in its view."""
        return f"digit {DIGITS[self.digits[SPEAKERS.index(agent)]]}" if agent in SPEAKERS else "sum"

    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        """Pay everyone when the sum is right."""
        if self.stage == SPEAKERS:
            self.stage = (LISTENER,)
            return Outcome()
        right = float(replies[LISTENER] == (f"s{sum(self.digits)}",))
        return Outcome(dict.fromkeys(self.possible_agents, right), done=True)

    def hidden(self) -> str:
        """Both digits, for the critic."""
        return " ".join(DIGITS[digit] for digit in self.digits)

    def anchors(self) -> Anchors:
        """Without a word the best guess is 2, the sum of three deals in nine."""
        return Anchors(random=1 / 5, silent=1 / 3, full=1.0)


def main(out: Path = Path("runs/03_your_own_arena"), updates: int = 150) -> None:
    """Check the arena, make it known by name, and train three agents in it."""
    check_arena(Adder)
    arenas.ARENAS["adder"] = Adder
    settings = {"scenario": {"arena": {"name": "adder"}}, "updates": updates, "stop_at": 1.0}
    RunDir(out).clear()  # an earlier run
    config = RunConfig.model_validate(settings | {"out": out})
    summary = run(config, lambda p: print(f"update {p.update}: score {p.score:.2f}"))
    print(f"communication gain {summary['evaluation']['train']['communication_gain']:.2f}")


if __name__ == "__main__":
    main()
