"""How the cost of an episode grows: with agents, graphs and rounds, against the number of deliveries.

In each round every agent says one symbol, on a graph, over the bus of one process; replies are scripted, so what is
measured is the platform: referee, channel, bus, agents, log. Each episode is played in a process of its own. Measured
are the processor's seconds (not the clock's: other work on the machine does not count), and by how much the process
grew. A delivery is one message that reaches one listener.

No term is worse than the number of deliveries if log cost against log deliveries has a slope of about 1 or less: by
rounds, with the agents fixed, and by agents, with the rounds fixed. The same is asked of what reads the log afterwards:
the views of all agents, its bytes, the accounts, the score. Cases with more deliveries than --most are skipped, and
named. It prints JSON lines, and draws them into OUT/growth.png:

    python benchmarks/growth.py [--most 300000] [--floor free] [--out runs/growth]
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import resource
from collections.abc import Iterator, Mapping, Sequence
from math import log
from multiprocessing.connection import Connection
from pathlib import Path
from time import process_time
from typing import Any, Final

import numpy as np

from arenas import Anchors, Arena, Outcome
from arenas.spec import Words, say, symbols
from marl.evaluation import traffic
from marl.policy import Scripted
from marl.rollout import Plan, collect
from marl.scenario import ArenaConfig, Scenario, World
from protocols.topology import build

AGENTS: Final = (2, 8, 64, 512, 1000)
ROUNDS: Final = (1, 10, 100, 1000)
GRAPHS: Final[Mapping[str, Mapping[str, Any]]] = {
    "complete": {"type": "complete"},
    "ring": {"type": "ring"},
    "small_world": {"type": "small_world", "neighbours": 4, "p": 0.1},
}
LEAST: Final = 500
"""Deliveries from which on slopes are taken: below, an episode costs what it costs before anything is said."""
PHASES: Final = ("seconds", "grown", "seconds_views", "seconds_log", "seconds_books", "seconds_score")
SHORTEST: Final = 0.2
"""Seconds for which a short episode is played again and again."""


class Assembly(Arena):
    """Everyone says one symbol in each round; nothing is paid."""

    metadata = Arena.metadata | {"name": "assembly_v0"}
    cases = 1

    def __init__(self, agents: int = 2, rounds: int = 1) -> None:
        self.rounds = rounds
        super().__init__(dict.fromkeys((f"member_{i}" for i in range(agents)), say(symbols("m", 4), 1)))

    def lay(self, case: int) -> None:
        """Begin."""
        self.round = 0

    def acting(self) -> tuple[str, ...]:
        """Return everyone."""
        return tuple(self.possible_agents)

    def view(self, agent: str) -> str:
        """Show nothing."""
        return ""

    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        """Count rounds."""
        self.round += 1
        return Outcome(done=self.round == self.rounds)

    def anchors(self) -> Anchors:
        """Nothing can be won."""
        return Anchors(0.0, 0.0, 0.0)


class AssemblyConfig(ArenaConfig):
    """Makes the game above, which is not among the arenas of the package."""

    def make(self) -> Arena:
        """Build it."""
        return Assembly(**(self.model_extra or {}))


def assembly(graph: str, agents: int, rounds: int, floor: str) -> World:
    """Lay a graph over so many agents, or the largest graph of its kind that there is."""
    arena = AssemblyConfig(name="assembly", agents=agents, rounds=rounds)  # type: ignore[call-arg]
    over = GRAPHS[graph] if agents > 4 else {"type": "complete"}
    scenario = Scenario.model_validate({"arena": {"name": "assembly"}, "topology": over, "floor": floor})
    return World(scenario.model_copy(update={"arena": arena}))


def deliveries(graph: str, agents: int, rounds: int) -> int:
    """Return how many there will be: edges times rounds."""
    config = Scenario.model_validate({"arena": {"name": ""}, "topology": GRAPHS[graph]}).topology
    return rounds * sum(map(len, build(config, [str(i) for i in range(agents)]).at(0))) if agents > 4 else rounds * 2


def peak() -> int:
    """Return the most memory this process has had, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(graph: str, agents: int, rounds: int, floor: str) -> dict[str, Any]:
    """Play one episode, and again while that was too short to time; then read its log as training and study do."""
    world = assembly(graph, agents, rounds, floor)
    seats = dict.fromkeys(world.agents, Scripted(lambda heard, spec: "m0"))
    gc.collect()
    before, began, grown = peak(), process_time(), 0
    times: list[float] = []
    while not times or process_time() - began < SHORTEST:
        start = process_time()
        (episode,) = collect(world, [Plan("e", seats, 1)])
        times.append(process_time() - start)
        grown = grown or peak() - before
    gc.disable()  # what a collection of garbage costs depends on all that the process holds
    start = process_time()
    views = sum(len(view) for view in episode.log.views(world.agents).values())
    viewed = process_time()
    episode.log.to_bytes()
    written = process_time()
    counted = traffic.count(world, [episode])
    booked = process_time()
    score = episode.score
    scored = process_time()
    total = counted.channels["public"].total
    return {
        "deliveries": total.deliveries,
        "messages": total.messages,
        "lost": episode.drift,
        "seconds": min(times),
        "us_per_delivery": 1e6 * min(times) / total.deliveries,
        "bytes_per_delivery": grown / total.deliveries,
        "grown": grown,
        "seconds_views": viewed - start,
        "seconds_log": written - viewed,
        "seconds_books": booked - written,
        "seconds_score": scored - booked,
        "seen": views,
        "score": score,
    }


def apart(*case: Any) -> dict[str, Any]:
    """Measure in a child process."""

    def tell(pipe: Connection) -> None:
        pipe.send(measure(*case))

    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=tell, args=(there,))
    child.start()
    there.close()
    try:
        result: dict[str, Any] = here.recv()
    except EOFError:
        raise RuntimeError(f"the episode of {case} ended without a result") from None
    child.join()
    return result


def slope(rows: Sequence[Mapping[str, Any]], what: str, within: str) -> float | None:
    """Fit log y = a_g + b log deliveries by least squares with an intercept for each group g, and return b.

    With `within` = agents, b is the growth by rounds; with rounds, the growth by agents.
    """
    groups: dict[int, list[tuple[float, float]]] = {}
    for row in rows:
        if row["deliveries"] >= LEAST and row[what] > 0:
            groups.setdefault(row[within], []).append((log(row["deliveries"]), log(row[what])))
    spread = shared = 0.0
    for points in groups.values():
        x, y = (np.array(column) - np.mean(column) for column in zip(*points, strict=True))
        spread += float(x @ x)
        shared += float(x @ y)
    return round(shared / spread, 3) if spread else None


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Plot time and memory per delivery against deliveries."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for graph in GRAPHS:
        mine = [row for row in rows if row["graph"] == graph]
        for axes, what in ((left, "us_per_delivery"), (right, "bytes_per_delivery")):
            axes.scatter([r["deliveries"] for r in mine], [r[what] for r in mine], s=30, label=graph, alpha=0.8)
            for row in mine:
                axes.annotate(
                    row["agents"], (row["deliveries"], row[what]), (3, 3), textcoords="offset points", fontsize=7
                )
    for axes, title in ((left, "microseconds per delivery"), (right, "bytes per delivery")):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("deliveries in one episode (numbers: agents)")
        axes.set_title(title)
        axes.grid(alpha=0.3)
    left.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def cases(most: int) -> Iterator[tuple[str, int, int, int]]:
    """Yield graph, agents, rounds and deliveries of every case."""
    for graph in GRAPHS:
        for agents in AGENTS:
            for rounds in ROUNDS:
                yield graph, agents, rounds, deliveries(graph, agents, rounds)


def main() -> None:
    """Measure, print, fit, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=1_000_000, help="deliveries of the largest episode")
    parser.add_argument("--floor", choices=("simultaneous", "rounds", "free"), default="simultaneous")
    parser.add_argument("--out", type=Path, default=Path("runs/growth"))
    options = parser.parse_args()
    rows, skipped = [], []
    for graph, agents, rounds, expected in cases(options.most):
        if expected > options.most:
            skipped.append(f"{graph} {agents} x {rounds}: {expected:,}")
            continue
        row = {"graph": graph, "agents": agents, "rounds": rounds, **apart(graph, agents, rounds, options.floor)}
        rows.append(row)
        print(json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()}), flush=True)
    for graph in GRAPHS:
        mine = [row for row in rows if row["graph"] == graph]
        by = {"rounds": "agents", "agents": "rounds"}
        slopes = {grows: {what: slope(mine, what, fixed) for what in PHASES} for grows, fixed in by.items()}
        print(json.dumps({"benchmark": "growth", "floor": options.floor, "graph": graph, "slope_by": slopes}))
    print(json.dumps({"benchmark": "growth", "skipped": skipped, "most": options.most}))
    draw(rows, options.out / "growth.png")


if __name__ == "__main__":
    main()
