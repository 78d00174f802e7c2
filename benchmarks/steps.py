"""Steps per second of random play in every arena, next to other libraries where they have the same game.

A step is one reply. Ours is measured as the referee plays (who acts, what may be replied, what is shown, the reply) and
as a PettingZoo environment (`last`, `step`). Of OpenSpiel a step is whose turn, what is legal, what the player knows
as text, and the action, from Python. OpenSpiel and TextArena are compared with the referee's way, PettingZoo with our
PettingZoo way. All are timed in turn, in one process; a ratio is ours over theirs, the median over the rounds, so above
1 we are faster. Peers that are not installed are left out.

    python benchmarks/steps.py --only kuhn leduc tictactoe --seconds 0.5
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any

import arenas
from arenas import Arena

Play = Callable[[random.Random], int]
"""Plays one episode of random replies; returns how many there were."""
MOVE = re.compile(r"\[\w+\]")  # as TextArena names its moves

OPENSPIEL = {
    "kuhn": "kuhn_poker",
    "leduc": "leduc_poker",
    "liars_dice": "liars_dice",
    "tictactoe": "tic_tac_toe",
    "tiny_hanabi": "tiny_hanabi",
    "trade_comm": "trade_comm",
    "lewis": "lewis_signaling",
}
PETTINGZOO = {
    "leduc": "pettingzoo.classic.leduc_holdem_v4",
    "tictactoe": "pettingzoo.classic.tictactoe_v3",
}
TEXTARENA: dict[str, tuple[str, dict[str, Any]]] = {
    "kuhn": ("textarena.envs.KuhnPoker.env:KuhnPokerEnv", {"max_rounds": 1}),
    "tictactoe": ("textarena.envs.TicTacToe.env:TicTacToeEnv", {}),
}


def referee(arena: Arena, draws: random.Random) -> int:
    """Play an episode as the referee does."""
    arena.begin(draws.getrandbits(32))
    steps = 0
    while True:
        replies = {}
        for agent in arena.acting():
            spec = arena.spec(agent)
            arena.view(agent)
            replies[agent] = spec.words(draws.randrange(spec.size))
        steps += len(replies)
        if arena.advance(replies).done:
            return steps


def aec(env: Any, draws: random.Random) -> int:
    """Play an episode of any PettingZoo environment."""
    env.reset(seed=draws.getrandbits(31))
    steps = 0
    for _ in env.agent_iter():
        observation, _, terminated, truncated, _ = env.last()
        if terminated or truncated:
            env.step(None)
            continue
        env.step(int(draws.choice(observation["action_mask"].nonzero()[0])))
        steps += 1
    return steps


def openspiel(game: Any, draws: random.Random) -> int:
    """Play an episode of a game of OpenSpiel."""
    state, by_information = game.new_initial_state(), game.get_type().provides_information_state_string
    steps = 0
    while not state.is_terminal():
        player = state.current_player()
        if player >= 0:
            state.information_state_string(player) if by_information else state.observation_string(player)
            steps += 1
        state.apply_action(draws.choice(state.legal_actions()))
    return steps


def textarena(env: Any, draws: random.Random) -> int:
    """Play an episode of an environment of TextArena, with the moves that its last observation names."""
    random.seed(draws.getrandbits(32))  # it draws from the global generator
    env.reset(num_players=2)
    steps, done = 0, False
    while not done:
        _, seen = env.get_observation()
        text = next(message for _, message, *_ in reversed(seen) if "vailable" in message)
        done, _ = env.step(draws.choice(MOVE.findall(text.partition("vailable")[2])))
        steps += 1
    env.close()
    return steps


def peers(name: str) -> Iterator[tuple[str, Play]]:
    """Yield the peers that have the game and are installed."""
    if name in OPENSPIEL:
        with suppress(ImportError):
            yield "openspiel", partial(openspiel, import_module("pyspiel").load_game(OPENSPIEL[name]))
    if name in PETTINGZOO:
        with suppress(ImportError):
            yield "pettingzoo", partial(aec, import_module(PETTINGZOO[name]).env())
    if name in TEXTARENA:
        path, options = TEXTARENA[name]
        module, _, cls = path.partition(":")
        with suppress(ImportError):
            yield "textarena", partial(textarena, getattr(import_module(module), cls)(**options))


def speed(play: Play, draws: random.Random, seconds: float) -> float:
    """Return steps per second of processor time, over at least so many seconds."""
    began, steps = time.process_time(), 0
    while (spent := time.process_time() - began) < seconds:
        steps += play(draws)
    return steps / spent


def measure(name: str, seconds: float, rounds: int) -> dict[str, Any]:
    """Return one row: the medians of all speeds, and of the ratios."""
    plays: dict[str, Play] = {"referee": partial(referee, arenas.make(name)), "aec": partial(aec, arenas.make(name))}
    plays |= dict(peers(name))
    draws = random.Random(1)
    for play in plays.values():
        play(draws)
    speeds_of: dict[str, list[float]] = {way: [] for way in plays}
    for _ in range(rounds):
        for way, play in plays.items():
            speeds_of[way].append(speed(play, draws, seconds))
    row: dict[str, Any] = {"benchmark": "steps", "arena": name}
    row |= {f"{way}_steps_per_s": round(statistics.median(speeds)) for way, speeds in speeds_of.items()}
    for way in list(plays)[2:]:
        ours = speeds_of["aec" if way == "pettingzoo" else "referee"]
        ratios = [a / b for a, b in zip(ours, speeds_of[way], strict=True)]
        row[f"over_{way}"] = round(statistics.median(ratios), 3)
    return row


def main() -> None:
    """Measure and print one JSON line per arena."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=arenas.names(), help="names of arenas; all of them unless given")
    parser.add_argument("--seconds", type=float, default=0.1, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of the peers
    for name in options.only:
        print(json.dumps(measure(name, options.seconds, options.rounds)), flush=True)


if __name__ == "__main__":
    main()
