"""Whether long self-play in tic-tac-toe learns not to lose, and does not unlearn it: a JSON line per evaluation.

A look is exact. It plays the policy of now, greedily and from both seats, against everything an opponent can do:

    lost, won   chances against an optimal opponent, which takes each of its best moves alike; the rest are draws
    beatable    the share of all lines of play, of an opponent that may do anything, in which the policy loses

0 lost to an optimal opponent is the optimum; 0 beatable is never to lose, to anybody. The last line has the chance
of losing to the optimal opponent with drawn instead of greedy replies, in games played (`sampled_lost`).

    python benchmarks/tictactoe.py --seeds 1
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from arenas import Arena
from arenas.games.puzzles.tictactoe import free, place, value
from arenas.scripted import Memory, Seen
from arenas.solvers.play import ask, perceive
from arenas.spec import Words
from marl.evaluation.exploitability import context
from marl.models.language_model import LanguageModel
from marl.models.reply_probabilities import reply_probabilities
from marl.policy import ArenaScriptPolicy
from marl.rollout import Plan, collect
from marl.settings import check, override, read_toml
from trainers.run import Progress, Run, RunConfig

EXAMPLE = Path(__file__).parents[1] / "examples" / "tictactoe.toml"


class Line(NamedTuple):
    """A course of a game, and the chance that an optimal opponent takes it."""

    arena: Arena
    seen: dict[str, Seen]
    chance: float


def best(memory: Memory) -> dict[Words, float]:
    """Return the best moves, each as likely as the others: an optimal opponent."""
    board = memory.view[-9:]
    worth = {cell: -value(place(board, cell)) for cell in free(board)}
    moves = [cell for cell, worth_of_cell in worth.items() if worth_of_cell == max(worth.values())]
    return {(cell,): 1 / len(moves) for cell in moves}


def greedy(lm: LanguageModel, asked: Sequence[Memory]) -> list[Words]:
    """Return the most probable reply to each."""
    now = [replace(memory, seen=memory.seen[-1:]) for memory in asked]  # the window of the example's seats
    chances = reply_probabilities(lm, [(context(lm, memory), memory.spec) for memory in now]) if asked else []
    return [memory.spec.words(int(p.argmax())) for memory, p in zip(asked, chances, strict=True)]


def ends(lm: LanguageModel, arena: Arena, seat: str) -> list[tuple[float, float]]:
    """Play greedy replies on one seat against all that the other can do: (return, chance) of each end."""
    arena.begin(0, case=0)
    lines = [Line(arena, dict.fromkeys(arena.possible_agents, ()), 1.0)]
    outcomes = []
    while lines:
        asked = [next(iter(ask(line.arena, line.seen).values())) for line in lines]
        own = iter(greedy(lm, [memory for memory in asked if memory.agent == seat]))
        after = []
        for line, memory in zip(lines, asked, strict=True):
            if memory.agent == seat:
                moves = {next(own): 1.0}
            else:
                moves = dict.fromkeys(map(memory.spec.words, range(memory.spec.size)), 0.0) | best(memory)
            for words, chance in moves.items():
                ahead = line.arena.copy()
                replies, seen_before = {memory.agent: words}, line.seen | {memory.agent: memory.seen}
                outcome = ahead.advance(replies)
                if outcome.done:
                    outcomes.append((outcome.rewards.get(seat, 0.0), line.chance * chance))
                else:
                    seen = perceive(ahead, seen_before, replies, {memory.agent: memory.spec})
                    after.append(Line(ahead, seen, line.chance * chance))
        lines = after
    return outcomes


def look(run: Run) -> dict[str, float]:
    """Return how greedy play fares, the mean of both seats."""
    every = [
        ends(run.trainer.policies[run.trainer.seats[seat]], run.world.scenario.arena.make(), seat)
        for seat in run.world.agents
    ]
    mean = [
        (
            sum(chance for paid, chance in outcomes if paid < 0),
            sum(chance for paid, chance in outcomes if paid > 0),
            sum(paid < 0 for paid, _ in outcomes) / len(outcomes),
        )
        for outcomes in every
    ]
    return {
        name: round(sum(values) / len(every), 4)
        for name, values in zip(("lost", "won", "beatable"), zip(*mean, strict=True), strict=True)
    }


def sampled(run: Run, games: int = 1000) -> float:
    """Return the share of games lost to an optimal opponent with drawn replies, half of them on each seat."""
    optimal = ArenaScriptPolicy(best, "optimal")
    lost = 0
    for i, seat in enumerate(run.world.agents):
        seats = dict(run.seats) | {rival: optimal for rival in run.world.agents if rival != seat}
        plans = [Plan(f"sampled-{seat}-{game}", seats, run.config.seed) for game in range(games // 2)]
        lost += sum(episode.returns[i] < 0 for episode in collect(run.world, plans))
    return lost / games


def main() -> None:
    """Train with each seed, and look now and then."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--every", type=int, default=20, help="updates between looks")
    parser.add_argument("overrides", nargs="*", help="settings such as updates=500")
    options = parser.parse_args()
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            settings = override(read_toml(EXAMPLE), [f"seed={seed}", f"out={folder}/run", *options.overrides])
            run = Run(check(RunConfig, settings, str(EXAMPLE)))

            def show(row: dict[str, Any], seed: int = seed) -> None:
                print(json.dumps({"benchmark": "tictactoe", "seed": seed} | row), flush=True)

            def report(progress: Progress, run: Run = run) -> None:
                if progress.update % options.every == 0:
                    show({"update": progress.update} | look(run))

            run.train(report)
            show({"updates": run.trainer.version, "sampled_lost": sampled(run), "seconds": round(run.seconds)})


if __name__ == "__main__":
    main()
