"""Games of OpenSpiel as arenas: sound, the same games, and one sentence for what cannot be."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest

import arenas
from arenas import ArenaError
from arenas.bridges.openspiel import OpenSpiel
from arenas.testing.suite import check_arena

pyspiel = pytest.importorskip("pyspiel", reason="OpenSpiel is not installed")

GAMES: list[tuple[str, dict[str, Any]]] = [
    ("kuhn_poker", {}),
    ("kuhn_poker", {"players": 3, "observe": "observation"}),
    ("leduc_poker", {}),
    ("tic_tac_toe", {"observe": "observation"}),
    ("liars_dice", {}),
    ("trade_comm", {"num_items": 4}),
    ("tiny_hanabi", {}),
    ("hanabi", {"colors": 2, "ranks": 2, "hand_size": 2}),
    ("bargaining", {}),
    ("matrix_pd", {}),  # simultaneous, once
    ("goofspiel", {"num_cards": 4}),  # simultaneous, with chance between
    ("coop_box_pushing", {"horizon": 5}),  # what was moved at once may succeed by chance
]


@pytest.mark.parametrize(("game", "options"), GAMES, ids=str)
def test_they_are_sound(game: str, options: dict[str, Any]) -> None:
    check_arena(lambda: arenas.make(f"openspiel:{game}", **options))


@pytest.mark.parametrize(("game", "options"), GAMES, ids=str)
def test_an_episode_pays_what_the_game_returns(game: str, options: dict[str, Any]) -> None:
    """Replies by their names are the game's own actions: its history, played afresh, returns what was paid."""
    arena = arenas.make(f"openspiel:{game}", **options)
    assert isinstance(arena, OpenSpiel)
    own = pyspiel.load_game(game, {name: value for name, value in options.items() if name != "observe"})
    draws = np.random.default_rng(1)
    for seed in range(20):
        arena.begin(seed)
        returns = dict.fromkeys(arena.possible_agents, 0.0)
        done = False
        while not done:
            specs = {agent: arena.spec(agent) for agent in arena.acting()}
            for agent, spec in specs.items():
                assert spec.size == len(arena.node.legal_actions(int(agent[-1])))
            replies = {agent: spec.words(int(draws.integers(spec.size))) for agent, spec in specs.items()}
            outcome = arena.advance(replies)
            done = outcome.done
            for agent, reward in outcome.rewards.items():
                returns[agent] += reward
        if own.get_type().dynamics == own.get_type().dynamics.SEQUENTIAL:
            state = own.new_initial_state()
            for action in arena.node.history():
                state.apply_action(action)
            assert str(state) == str(arena.node)
            assert state.returns() == pytest.approx(list(returns.values()))
        assert arena.node.returns() == pytest.approx(list(returns.values()))


def test_replies_are_the_games_own_actions() -> None:
    arena = arenas.make("openspiel:kuhn_poker")
    assert isinstance(arena, OpenSpiel)
    arena.begin(0)
    first, second = arena.hidden().split()
    assert (arena.acting(), arena.view("player_0")) == (("player_0",), first)
    arena.advance({"player_0": ("Bet",)})
    assert (arena.acting(), arena.view("player_1")) == (("player_1",), f"{second} b")
    outcome = arena.advance({"player_1": ("Pass",)})
    assert (dict(outcome.rewards), outcome.done) == ({"player_0": 1.0, "player_1": -1.0}, True)


def test_chance_has_the_games_odds_and_a_fork_shares_it() -> None:
    arena = arenas.make("openspiel:kuhn_poker")
    dealt: Counter[str] = Counter()
    for seed in range(1200):
        arena.begin(seed)
        dealt[arena.hidden()] += 1
    assert len(dealt) == 6
    assert max(abs(count - 200) for count in dealt.values()) < 4 * (1200 / 6 * 5 / 6) ** 0.5
    goofspiel = arenas.make("openspiel:goofspiel", num_cards=4)
    goofspiel.begin(3)
    fork = goofspiel.copy()
    bids = {"player_0": ("[P0]Bid:_1",), "player_1": ("[P1]Bid:_2",)}
    fork.advance(bids)
    assert goofspiel.view("player_0") != fork.view("player_0")
    goofspiel.advance(bids)
    assert goofspiel.hidden() == fork.hidden()


def test_numbers_and_names_stay_words_and_unknown_ones_are_spelled() -> None:
    arena = arenas.make("openspiel:kuhn_poker")
    assert isinstance(arena, OpenSpiel)
    assert arena._read("12 pb\n") == "12 pb"
    assert arena._read("123456 Qxq.\nend") == "1 ~ 2 ~ 3 ~ 4 ~ 5 ~ 6 Q ~ x ~ q . / e ~ n ~ d"


def test_what_is_known_of_scores() -> None:
    assert arenas.make("openspiel:leduc_poker").anchors() == arenas.Anchors(0.0, 0.0, 0.0, 0.0)
    known = arenas.make("openspiel:tiny_hanabi").anchors()
    assert known.random is not None
    assert known.silent is known.full is None
    assert known.communication_gain(3.0) is None


@pytest.mark.parametrize(
    ("game", "options", "message"),
    [
        ("kuhn_pokr", {}, "OpenSpiel has no game 'kuhn_pokr': `marl arenas openspiel:` lists them"),
        (
            "kuhn_poker",
            {"cards": 3},
            "openspiel:kuhn_poker has no parameter 'cards'; it takes players, observe, view_words",
        ),
        ("kuhn_poker", {"players": 99}, "openspiel:kuhn_poker cannot be loaded with {'players': 99}: num_players_ <= "),
        ("kuhn_poker", {"players": "two"}, "openspiel:kuhn_poker cannot be loaded with {'players': 'two'}"),
        ("liars_dice", {"observe": "observation"}, "liars_dice can show information_state, not 'observation'"),
        ("negotiation", {}, "openspiel:negotiation draws by itself, so its episodes could not be replayed"),
        ("mfg_crowd_modelling", {}, "mean-field game"),
        ("crossword", {}, "crossword cannot be played here: LegalActions unimplemented"),
        ("nfg_game", {}, "openspiel:nfg_game cannot be loaded with {}"),
    ],
)
def test_what_cannot_be_is_one_sentence(game: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArenaError) as raised:
        arenas.make(f"openspiel:{game}", **options)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_without_openspiel_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspiel", None)
    with pytest.raises(ArenaError, match=r"needs the package pyspiel: pip install 'sabir\[openspiel\]'"):
        arenas.make("openspiel:kuhn_poker")
