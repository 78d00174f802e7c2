"""Games of TextArena as arenas: sound, with draws of their own, free text as moves, and one sentence for the others."""

from __future__ import annotations

import random
import sys
from typing import Any

import numpy as np
import pytest

import arenas
from arenas import ArenaError
from arenas.spec import choose, from_wire
from arenas.testing.suite import check_arena, transcript
from marl.policy.scripted import Random, Scripted
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.rollout.replay import replay
from marl.scenario.world import load_world

pytest.importorskip("textarena", reason="TextArena is not installed")

GAMES = ("TicTacToe-v0", "KuhnPoker-v0", "IteratedPrisonersDilemma-v0", "SecretMafia-v0", "PigDice-v0", "Blackjack-v0")


@pytest.mark.parametrize("game", GAMES)
def test_they_are_sound(game: str) -> None:
    check_arena(lambda: arenas.make(f"textarena:{game}", turns=12))


def test_a_game_is_won_by_free_text_and_pays_at_its_end() -> None:
    arena = arenas.make("textarena:TicTacToe-v0")
    arena.begin(0)
    paid: dict[str, float] = {}
    for cell in (0, 3, 1, 4, 2):
        (agent,) = arena.acting()
        assert arena.spec(agent).parse(f"I take [{cell}] now") == ("I", "take", f"[{cell}]", "now")
        outcome = arena.advance({agent: ("I", "take", f"[{cell}]", "now")})
        paid |= outcome.rewards
    assert (outcome.done, outcome.truncated, paid) == (True, False, {"player_0": 1.0, "player_1": -1.0})


def test_a_view_holds_what_is_new() -> None:
    arena = arenas.make("textarena:TicTacToe-v0")
    arena.begin(0)
    assert "Your goal is to win three in a row" in arena.view("player_0")
    for cell in (4, 0):
        arena.advance({arena.acting()[0]: (f"[{cell}]",)})
    assert "Your goal" not in arena.view("player_0")
    assert "[Player 1] [0]" in arena.view("player_0")


def test_episodes_do_not_depend_on_other_draws_nor_disturb_them() -> None:
    """TextArena seeds and draws from the global generators."""
    name = "textarena:KuhnPoker-v0"
    alone = [transcript(arenas.make(name), seed) for seed in range(4)]
    assert len(set(alone)) > 1
    made = [arenas.make(name) for _ in alone]
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = [random.random() for _ in range(400)], np.random.rand(400).tolist()  # noqa: NPY002
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    drawn: tuple[list[float], list[float]] = ([], [])
    draws = [np.random.default_rng((seed, 1)) for seed in range(4)]
    for seed, arena in enumerate(made):
        arena.reset(seed)
    lines: list[list[str]] = [[] for _ in made]
    while any(not any(arena.terminations.values()) for arena in made):
        for i, arena in enumerate(made):  # a turn of each, and other draws between
            drawn[0].append(random.random())
            drawn[1].append(float(np.random.rand()))  # noqa: NPY002
            if not any(arena.terminations.values()):
                agent = arena.agent_selection
                lines[i].append(arena.observe(agent)["text"])
                arena.step(int(draws[i].integers(arena.spec(agent).size)))
    for i, text in enumerate(alone):
        assert all(line in text for line in lines[i])
        assert text.count(" sees | ") == len(lines[i])
    assert drawn == (expected[0][: len(drawn[0])], expected[1][: len(drawn[1])])


def test_agents_play_one_over_the_bus_and_it_is_replayed() -> None:
    world = load_world({"arena": {"name": "textarena:TicTacToe-v0"}}, "test")
    cells = iter((4, 0, 3, 1, 5))
    seats: dict[str, Any] = dict.fromkeys(world.agents, Scripted(lambda heard, spec: f"my move is [{next(cells)}]"))
    (episode,) = collect(world, [Plan("first", seats, seed=1)])
    assert episode.returns == (1.0, -1.0)
    assert all(turn.legal for turn in episode.turns)
    (again,) = collect(world, [replay(episode.log)])
    assert again.log.to_bytes() == episode.log.to_bytes()
    assert not collect(world, [Plan("random", dict.fromkeys(world.agents, Random()), seed=2)])[0].error


def test_a_game_that_fails_at_a_reply_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    arena = arenas.make("textarena:TicTacToe-v0")
    arena.begin(0)
    arena.game.environment.step = None
    outcome = arena.advance({"player_0": ("[4]",)})
    assert (outcome.done, outcome.truncated, outcome.rewards) == (True, True, {})
    assert "it fails at the reply '[4]'" in caplog.text


def test_moves_may_be_free_text_on_the_wire_too() -> None:
    spec = choose(("[0]", "[1]"), free=20)
    assert from_wire(dict(spec.wire)) == spec
    assert spec.describe() == "moves any text of at most 20 characters"
    assert (spec.parse("I fold"), spec.parse(""), spec.parse("x" * 21)) == (("I", "fold"), None, None)


@pytest.mark.parametrize(
    ("game", "options", "message"),
    [
        ("TicTacTow-v0", {}, "TextArena has no game 'TicTacTow-v0': `marl arenas textarena:` lists those that can be"),
        (
            "TicTacToe-v0",
            {"players": 3},
            "textarena:TicTacToe-v0 cannot be played here: it does not begin with 3 player",
        ),
        ("TicTacToe-v0", {"free": 0}, "needs players >= 0, moves, free >= 1 and turns >= 1"),
        (
            "TicTacToe-v0",
            {"size": 3},
            "arena textarena:TicTacToe-v0: got an unexpected keyword argument 'size'; it takes",
        ),
    ],
)
def test_what_cannot_be_is_one_sentence(game: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArenaError) as raised:
        arenas.make(f"textarena:{game}", **options)
    assert message in str(raised.value)


def test_a_game_that_would_download_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    import nltk

    asked = []
    monkeypatch.setattr(nltk, "download", lambda *names, **_: asked.append(names))
    monkeypatch.setattr(nltk.data, "path", [])
    for module in [each for each in sys.modules if each.startswith("textarena.envs.Hangman")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(ArenaError, match=r"Hangman-v0 cannot be played here: it needs data of nltk .*nltk.downloader"):
        arenas.make("textarena:Hangman-v0")
    assert not asked


def test_without_textarena_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "textarena", None)
    with pytest.raises(ArenaError, match=r"needs the package textarena: pip install 'sabir\[textarena\]'"):
        arenas.make("textarena:TicTacToe-v0")
