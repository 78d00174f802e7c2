"""Write an arena, check it, and train agents in it.

    python examples/03_your_own_arena.py
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import arenas
from arenas import Anchors, Arena, Outcome, ReplySpec
from arenas.spec import Words, choose, say, symbols
from arenas.testing import check_arena
from marl.rundir import RunDir
from trainers.run import RunConfig, run

TRAVELLERS = ("traveller_0", "traveller_1")
PLACES = symbols("p", 3)


class Rendezvous(Arena):
    """Two travellers know a closed place each, of three; they speak at once, go at once, and should meet elsewhere."""

    metadata = Arena.metadata | {"name": "rendezvous_v0", "is_parallelizable": True}
    tags = ("cooperative", "communication")
    cases = 9

    def __init__(self) -> None:
        talk, go = say(symbols("m", 3), 1), choose(PLACES)
        super().__init__(dict.fromkeys(TRAVELLERS, (talk, go)), words=("closed",))

    def lay(self, case: int) -> None:
        """Close a place to each."""
        self.closed = dict(zip(TRAVELLERS, (PLACES[case // 3], PLACES[case % 3]), strict=True))
        self.talking = True

    def acting(self) -> tuple[str, ...]:
        """Both, in both stages."""
        return TRAVELLERS

    def spec(self, agent: str) -> ReplySpec:
        """First a symbol, then a place."""
        return self.replies[agent][0 if self.talking else 1]

    def view(self, agent: str) -> str:
        """One's own closed place."""
        return f"closed {self.closed[agent]}"

    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        """Pay both 1 if they met at a place that is open to both."""
        if self.talking:
            self.talking = False
            return Outcome()
        (first,), (second,) = (replies[traveller] for traveller in TRAVELLERS)
        met = float(first == second and first not in self.closed.values())
        return Outcome(dict.fromkeys(TRAVELLERS, met), done=True)

    def hidden(self) -> str:
        """Both closed places."""
        return f"closed {' '.join(self.closed.values())}"

    def anchors(self) -> Anchors:
        """Without talk both go to p0 unless it is closed to them, then to p1: (2/3)^2 + (1/3)^2."""
        return Anchors(random=4 / 27, silent=5 / 9, full=1.0)


def main(out: Path = Path("runs/03_your_own_arena"), updates: int = 100) -> None:
    """Check the arena and train in it."""
    check_arena(Rendezvous)
    arenas.ARENAS["rendezvous"] = Rendezvous
    settings = {"scenario": {"arena": {"name": "rendezvous"}}, "out": out, "updates": updates, "episodes": 128}
    RunDir(out).clear()
    summary = run(RunConfig.model_validate(settings | {"threads": 1, "algorithm": {"lr": 2e-3}}))
    print(summary["evaluation"])


if __name__ == "__main__":
    main()
