"""Hanabi: OpenSpiel's (the Hanabi Learning Environment's) rules move by move, hands worked by hand, scripted play."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from arenas.games.cards.hanabi import COLORS, Hanabi
from arenas.solvers.play import sample
from arenas.testing.suite import check_arena


def laid(order: str, **options: Any) -> Hanabi:
    """The game of one color whose pack has these ranks in this order: first player 0's hand."""
    arena = Hanabi(**options)
    arena.begin(0)
    arena.start(tuple(("red", rank) for rank in order))
    return arena


def move(arena: Hanabi, word: str) -> tuple[float, bool]:
    [agent] = arena.acting()
    assert arena.spec(agent).parse(word) == (word,), f"{word} is not legal"
    outcome = arena.advance({agent: (word,)})
    assert len(set(outcome.rewards.values())) == 1
    return outcome.rewards[agent], outcome.done


def test_a_game_by_hand() -> None:
    arena = laid("3112415223")
    assert arena.view("player_0") == "lives 1 hints 3 deck 6 built red 0 player_1 red 1 red 2 you ? ? ? ?"
    assert arena.spec("player_0").alphabet == ("hint_1_red", "hint_1_1", "hint_1_2", "play_0", "play_1")
    assert move(arena, "hint_1_1") == (0, False)
    told = "player_0 hint_1_1 lives 1 hints 2 deck 6 built red 0 player_0 red 3 red 1 you ? 1 ? ?"
    assert arena.view("player_1") == told
    assert move(arena, "play_0") == (1, False)
    assert arena.view("player_0").startswith(
        "player_0 hint_1_1 player_1 play_0 red 1 lives 1 hints 2 deck 5 built red 1"
    )
    assert arena.view("player_0").endswith("player_1 red 2 red 4 you ? ? ? ?"), "a new card is the last"
    assert move(arena, "hint_1_red") == (0, False)
    assert arena.view("player_1").endswith("you red ? red ?")
    assert move(arena, "discard_1") == (0, False)
    assert arena.hints == 2
    assert move(arena, "discard_0") == (0, False)
    assert move(arena, "play_0") == (1, False)
    assert "discard_0" not in arena.spec("player_0").alphabet, "all hints are there"
    assert move(arena, "play_0") == (-2, True), "the last life is lost, and with it the score"


def test_bomb_keeps_what_is_built() -> None:
    arena = laid("1222341135", bomb=1.0)
    assert move(arena, "play_0") == (1, False)
    assert move(arena, "play_0") == (1, False)
    assert move(arena, "play_0") == (0, True)


def test_a_finished_color_gives_a_hint_and_ends_the_game_when_all_are() -> None:
    arena = laid("1324511123", lives=3)
    move(arena, "hint_1_2")
    move(arena, "play_0")  # 2 does not fit
    assert (arena.lives, arena.hints) == (2, 2)
    for word in ("play_0", "hint_0_3"):
        move(arena, word)
    assert arena.built == (1,)
    two = Hanabi(colors=2, ranks=1, hand=1, hints=2)
    two.begin(0)
    two.start((("red", "1"), ("yellow", "1"), ("red", "1"), ("red", "1"), ("yellow", "1"), ("yellow", "1")))
    move(two, "hint_1_1")
    assert two.hints == 1
    assert move(two, "play_0") == (1, False)
    assert two.hints == 2, "yellow is finished"
    assert move(two, "play_0") == (1, True)


def test_after_the_last_card_everyone_has_one_turn() -> None:
    arena = laid("1111111111", lives=3)
    moves = 0
    done = False
    while not done:
        word = "discard_0" if arena.hints < 3 else "hint_1_1" if arena.player == 0 else "hint_0_1"
        left = len(arena.deck)
        _, done = move(arena, word)
        moves += not left
    assert moves == 2


CONFIGURATIONS = [
    ({}, 100),
    ({"size": "small"}, 100),
    ({"size": "small", "players": 3, "lives": 3, "hints": 2}, 50),
    ({"size": "full"}, 50),
    ({"size": "full", "players": 5}, 30),
    ({"colors": 2, "ranks": 3, "hand": 2, "hints": 5, "lives": 3, "players": 2}, 60),
]


@pytest.mark.parametrize(("options", "games"), CONFIGURATIONS, ids=str)
def test_random_games_are_those_of_openspiel(options: dict[str, Any], games: int) -> None:
    """Move by move: whose turn, what is legal, lives, hints, and returns."""
    spiel = pytest.importorskip("pyspiel")
    arena, rng = Hanabi(**options), np.random.default_rng(5)
    names = {"players": len(arena.possible_agents), "colors": arena.colors, "ranks": arena.ranks}
    numbers = {"hand_size": arena.hand, "max_information_tokens": arena.most_hints, "max_life_tokens": arena.most_lives}
    game = spiel.load_game("hanabi", names | numbers)
    for seed in range(games):
        arena.begin(seed)
        state = game.new_initial_state()
        deck = [card for hand in arena.hands for card in hand] + list(arena.deck)
        total, done = 0.0, False
        while not done:
            deal(state, deck)
            player = state.current_player()
            assert arena.acting() == (f"player_{player}",)
            theirs = {
                spelled(state.action_to_string(player, a), player, names["players"]): a for a in state.legal_actions()
            }
            assert set(theirs) == set(arena.spec(f"player_{player}").alphabet)
            told = str(state)
            assert f"Life tokens: {arena.lives}\nInfo tokens: {arena.hints}\n" in told
            word = sorted(theirs)[int(rng.integers(len(theirs)))]
            reward, done = move(arena, word)
            state.apply_action(theirs[word])
            total += reward
            assert state.is_terminal() == done
            assert state.returns() == [total] * names["players"]


def deal(state: Any, deck: list[tuple[str, str]]) -> None:
    """Let chance deal the cards that our pack has next."""
    while state.is_chance_node():
        color, rank = deck.pop(0)
        wanted = f"{'RYGWB'[COLORS.index(color)]}{rank}"
        [action] = [
            a for a, _ in state.chance_outcomes() if wanted in state.action_to_string(state.current_player(), a)
        ]
        state.apply_action(action)


def spelled(action: str, player: int, players: int) -> str:
    """Our word for OpenSpiel's name of a move."""
    verb, *rest = action.strip("()").split()
    if verb != "Reveal":
        return f"{verb.lower()}_{rest[0]}"
    other = (player + int(rest[1])) % players
    word = rest[3] if rest[2] == "rank" else COLORS["RYGWB".index(rest[3])]
    return f"hint_{other}_{word}"


def test_hints_are_worth_much() -> None:
    """The convention against the best without hints; some games of one color are won."""
    arena = Hanabi()
    scores = sample(arena, arena.scripts()["best"], 200)
    assert scores.mean() > (arena.anchors().silent or 0) + 2
    assert scores.max() == arena.anchors().full == 5


def test_the_convention_bears_the_full_game() -> None:
    full = Hanabi("full")
    scores = sample(full, full.scripts()["best"], 10)
    assert scores.mean() > (full.anchors().silent or 0) + 10


def test_the_full_game_of_four_is_sound() -> None:
    arena = Hanabi("full", players=4)
    assert (arena.hand, len(arena.pack)) == (4, 50)
    check_arena(lambda: Hanabi("full", players=4))
