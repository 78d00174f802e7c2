"""The same rules as OpenSpiel's: its games, written by others, are played move by move beside ours.

A history of ours is one of OpenSpiel's by `Twin`, which says what chance did and which action a reply is. The sets of
all histories in which somebody decides, and of all that have ended, are then equal, history for history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pyspiel
import pytest

import arenas
from arenas import Arena
from arenas.games.cards.kuhn import CARDS, equilibrium
from arenas.games.cards.kuhn import DEALS as KUHN_DEALS
from arenas.games.cards.leduc import DEALS as LEDUC_DEALS
from arenas.games.cards.liars_dice import LIAR, bids
from arenas.games.cards.tiny_hanabi import PAYOFFS, table
from arenas.games.puzzles.tictactoe import CELLS, MARKS
from arenas.solvers.solve import best_response, cfr_plus, exploitability, nash_conv
from arenas.solvers.tree import Floats, Tree, extensive, walk
from arenas.spec import Words

EPISODES = 1000
History = tuple[int, ...]


@dataclass(frozen=True)
class Twin:
    """An arena, OpenSpiel's game, what its chance nodes draw for a case, and the action that a reply is."""

    make: Callable[[], Arena]
    game: str
    chance: Callable[[int], list[int]]
    action: Callable[[Words], int]

    def load(self) -> Any:
        return pyspiel.load_game(self.game)

    def replay(self, game: Any, case: int, replies: tuple[tuple[str, Words], ...]) -> Any:
        """Return OpenSpiel's state after these replies; a chance node takes its next draw."""
        state, draws = game.new_initial_state(), iter(self.chance(case))
        _draw(state, draws)
        for agent, words in replies:
            assert state.current_player() == int(agent[-1])
            state.apply_action(self.action(words))
            _draw(state, draws)
        return state


def _draw(state: Any, draws: Iterator[int]) -> None:
    while state.is_chance_node():
        state.apply_action(next(draws))


def kuhn() -> Twin:
    moves = {"check": 0, "fold": 0, "bet": 1, "call": 1}
    return Twin(
        lambda: arenas.make("kuhn"),
        "kuhn_poker",
        lambda case: [CARDS.index(card) for card in KUHN_DEALS[case]],
        lambda words: moves[words[0]],
    )


def leduc(ranks: bool = False) -> Twin:
    """`ranks`: the variant of OpenSpiel that deals ranks, not cards with suits, and so has our information sets."""
    moves = {"fold": 0, "check": 1, "call": 1, "raise": 2}
    return Twin(
        lambda: arenas.make("leduc"),
        f"leduc_poker(suit_isomorphism={ranks})",
        lambda case: [card // 2 if ranks else card for card in LEDUC_DEALS[case]],
        lambda words: moves[words[0]],
    )


def tictactoe() -> Twin:
    return Twin(lambda: arenas.make("tictactoe"), "tic_tac_toe", lambda case: [], lambda words: int(words[0]) - 1)


def liars_dice(dice: int = 1, faces: int = 6) -> Twin:
    actions = (*bids(2 * dice, faces), LIAR)
    return Twin(
        lambda: arenas.make("liars_dice", dice=dice, faces=faces),
        f"liars_dice(numdice={dice},dice_sides={faces})",
        lambda case: [case // faces**i % faces for i in reversed(range(2 * dice))],
        lambda words: actions.index(words[0]),
    )


def tiny_hanabi(game: str = "E") -> Twin:
    pay = table(game)
    payoff = ";".join(str(int(x)) for x in pay.ravel())
    return Twin(
        lambda: arenas.make("tiny_hanabi", game=game),
        f"tiny_hanabi(num_chance={len(pay)},num_actions={pay.shape[2]},payoff={payoff})",
        lambda case: list(divmod(case, len(pay))),
        lambda words: int(words[0][1:]),
    )


def trade_comm(items: int = 10) -> Twin:
    def action(words: Words) -> int:
        numbers = [int(word[1:]) for word in words]
        return numbers[0] if len(numbers) == 1 else items + items * numbers[0] + numbers[1]

    return Twin(
        lambda: arenas.make("trade_comm", items=items), f"trade_comm(num_items={items})", lambda case: [case], action
    )


PLAYED = {
    "kuhn": kuhn(),
    "leduc": leduc(),
    "tictactoe": tictactoe(),
    "liars_dice": liars_dice(),
    "liars_dice 2 dice": liars_dice(2, 4),
    "trade_comm": trade_comm(),
    **{f"tiny_hanabi {game}": tiny_hanabi(game) for game in PAYOFFS},
}


@pytest.mark.parametrize("name", PLAYED)
def test_random_playthroughs(name: str) -> None:
    """Whose turn it is, what is legal, when it is over and what it pays, at every move of 1,000 episodes."""
    twin = PLAYED[name]
    arena, game = twin.make(), twin.load()
    draws = np.random.default_rng(5)
    for _ in range(EPISODES):
        case = int(draws.integers(arena.cases))
        arena.begin(0, case=case)
        state, chance = game.new_initial_state(), iter(twin.chance(case))
        _draw(state, chance)
        done = False
        while not done:
            replies: dict[str, Words | None] = {}
            for agent in arena.acting():
                spec = arena.spec(agent)
                assert state.current_player() == int(agent[-1])
                actions = {twin.action(spec.words(i)): spec.words(i) for i in range(spec.size)}
                assert sorted(actions) == state.legal_actions()
                chosen = int(draws.choice(list(actions)))
                replies[agent] = actions[chosen]
                state.apply_action(chosen)
            outcome = arena.advance(replies)
            _draw(state, chance)
            done = outcome.done
            assert done == state.is_terminal()
        assert [outcome.rewards.get(agent, 0.0) for agent in arena.possible_agents] == state.returns()


def histories(game: Any) -> tuple[set[History], set[History]]:
    """Return OpenSpiel's histories in which somebody decides, and those that have ended."""
    decisions: set[History] = set()
    ends: set[History] = set()
    stack = [game.new_initial_state()]
    while stack:
        state = stack.pop()
        if state.is_terminal():
            ends.add(tuple(state.history()))
            continue
        if not state.is_chance_node():
            decisions.add(tuple(state.history()))
        stack += [state.child(action) for action in state.legal_actions()]
    return decisions, ends


def mapped(twin: Twin, game: Any) -> tuple[set[History], set[History]]:
    """Return ours as OpenSpiel's: seats asked at once decide one after another there."""
    decisions: set[History] = set()
    ends: set[History] = set()
    for node in walk(twin.make()):
        state = twin.replay(game, node.case, node.replies)
        if not node.asked:
            assert state.is_terminal()
            assert state.returns() == list(node.returns.values())
            ends.add(tuple(state.history()))
        history = tuple(state.history())
        options = [range(memory.spec.size) for memory in node.asked.values()]
        specs = [memory.spec for memory in node.asked.values()]
        for asked in range(len(specs)):
            for numbers in product(*options[:asked]):
                given = (twin.action(spec.words(i)) for spec, i in zip(specs, numbers, strict=False))
                decisions.add((*history, *given))
    return decisions, ends


@pytest.mark.parametrize(
    ("twin", "decided", "ended"),
    [
        (kuhn(), 24, 30),
        (leduc(), 30 * 6 + 120 * 5 * 6, 30 * 4 + 120 * 5 * 9),  # deals * betting, in both rounds
        (leduc(ranks=True), 9 * 6 + 24 * 5 * 6, 9 * 4 + 24 * 5 * 9),
        (liars_dice(1, 3), 576, 567),
        (liars_dice(2, 2), 4096, 4080),
        (trade_comm(2), 4 * (1 + 2 + 4 * (1 + 4)), 4 * 4 * 16),
        *((tiny_hanabi(game), 4 * 3, 4 * 4) for game in "ABCD"),
        (tiny_hanabi("E"), 4 * 4, 4 * 9),
        (tiny_hanabi("F"), 9 * 3, 9 * 4),
    ],
    ids=lambda value: value.game[:50] if isinstance(value, Twin) else None,
)
def test_the_same_histories(twin: Twin, decided: int, ended: int) -> None:
    """All of them: here deals settle later draws too, so several of our nodes are one history of OpenSpiel's."""
    game = twin.load()
    decisions, ends = mapped(twin, game)
    assert (decisions, ends) == histories(game)
    assert (len(decisions), len(ends)) == (decided, ended)


def test_tictactoe_has_the_same_positions() -> None:
    """Positions, as its half a million histories are too many for a test: 4,520 with a move to make, 958 ends."""
    arena = arenas.make("tictactoe")
    arena.begin(0, case=0)
    found: dict[str, bool] = {}
    frontier = [arena]
    while frontier:
        now = frontier.pop()
        (agent,) = now.acting()
        for word in now.spec(agent).steps[0]:
            after = now.copy()
            done = after.advance({agent: (word,)}).done
            if _board(after) not in found:
                found[_board(after)] = done
                frontier += [] if done else [after]
    theirs: dict[str, bool] = {}
    states = [pyspiel.load_game("tic_tac_toe").new_initial_state()]
    while states:
        state = states.pop()
        if str(state) not in theirs:
            theirs[str(state)] = state.is_terminal()
            states += [state.child(action) for action in state.legal_actions()]
    assert found | {"...\n...\n...": False} == theirs
    assert (sum(found.values()), len(found) - sum(found.values()) + 1) == (958, 4520)


def _board(arena: Arena) -> str:
    cells = [word if word in MARKS else "." for word in arena.hidden().split()[1:]]
    assert len(cells) == len(CELLS)
    return "\n".join("".join(cells[i : i + 3]) for i in (0, 3, 6))


Partition = dict[str, tuple[int, list[int]]]


def partition(twin: Twin, game: Any, tree: Tree) -> Partition:
    """Return which of our information sets each of OpenSpiel's information states is in, and its actions."""
    numbers = {(memory.agent, memory.seen): i for i, memory in enumerate(tree.memories)}
    found: Partition = {}
    for node in walk(twin.make()):
        state = twin.replay(game, node.case, node.replies)
        for agent, memory in node.asked.items():
            name = state.information_state_string(int(agent[-1]))
            actions = [twin.action(memory.spec.words(i)) for i in range(memory.spec.size)]
            here = numbers[agent, memory.seen], actions
            assert found.setdefault(name, here) == here, "what a player of OpenSpiel knows, a seat of ours does"
            state.apply_action(actions[0])  # unseen by who is asked at the same time
    assert {number for number, _ in found.values()} == set(numbers.values())
    return found


def tabular(found: Partition, tree: Tree, policy: Floats) -> Any:
    """Return our policy as OpenSpiel's."""
    columns = {name: policy[tree.offset[i] : tree.offset[i + 1]].tolist() for name, (i, _) in found.items()}
    return pyspiel.TabularPolicy({name: list(zip(found[name][1], columns[name], strict=True)) for name in found})


def tables(tree: Tree, seed: int) -> Iterator[Floats]:
    """Yield random policies, all information sets alike, then some in which every second reply has no chance at all."""
    draws = np.random.default_rng(seed)
    for sparse in (False, False, True):
        weights = draws.exponential(size=int(tree.offset[-1]))
        if sparse:
            weights *= draws.random(len(weights)) < 0.5
            weights[tree.offset[:-1]] += 1e-3
        yield weights / np.add.reduceat(weights, tree.offset[:-1])[tree.set_of]


@pytest.mark.parametrize(
    ("twin", "sets"),
    [(kuhn(), 12), (leduc(), 936), (leduc(ranks=True), 288), (liars_dice(1, 3), 192), (liars_dice(2, 2), 768)],
    ids=lambda value: value.game if isinstance(value, Twin) else None,
)
def test_exploitability(twin: Twin, sets: int) -> None:
    """Of the uniform policy, of CFR+'s, and of random ones; and what each seat's best response is worth."""
    game, tree = twin.load(), extensive(twin.make())
    found = partition(twin, game, tree)
    assert len(found) == sets
    for policy in (tree.uniform(), cfr_plus(tree, 50), *tables(tree, 3)):
        theirs = tabular(found, tree, policy)
        assert exploitability(tree, policy) == pytest.approx(pyspiel.exploitability(game, theirs), abs=1e-9)
        for number, seat in enumerate(tree.seats):
            root = game.new_initial_state()
            best = pyspiel.TabularBestResponse(game, number, theirs).value_from_state(root)
            assert best_response(tree, policy, seat)[0] == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 1 / 3])
def test_kuhns_equilibria_cannot_be_exploited(alpha: float) -> None:
    twin = kuhn()
    game, tree = twin.load(), extensive(twin.make())
    policy = tree.policy(equilibrium(alpha))
    assert abs(pyspiel.exploitability(game, tabular(partition(twin, game, tree), tree, policy))) < 1e-9
    assert abs(exploitability(tree, policy)) < 1e-9


def test_best_responses_of_general_sum_games() -> None:
    """NashConv of trade_comm, where both want the same."""
    twin = trade_comm(2)
    game, tree = twin.load(), extensive(twin.make())
    for policy in tables(tree, 7):
        theirs = pyspiel.nash_conv(game, tabular(partition(twin, game, tree), tree, policy))
        assert nash_conv(tree, policy) == pytest.approx(theirs, abs=1e-9)
