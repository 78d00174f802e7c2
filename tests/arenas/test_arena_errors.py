"""What a user gets wrong is answered in one sentence that says how to mend it."""

from __future__ import annotations

from typing import Any

import pytest

import arenas
from arenas import ArenaError


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("arithmetic", {"signs": "+/"}, "arithmetic needs .* signs out of .*, not most=20, terms=2, signs='\\+/'"),
        ("arithmetic", {"most": 300}, "at most 65536 sums, and free >= 0, not most=300"),
        ("arithmetic", {"free": -1}, "free >= 0, not most=20, terms=2, signs='\\+-', free=-1"),
        ("document", {"chunks": 0}, "document needs 1 to 100000 chunks, .* not chunks=0"),
        ("document", {"least": 9}, "least from 0 .* to chunks=8, not least=9"),
        ("document", {"colours": 9}, "2 to 8 colours, .* colours=9"),
        ("lewis", {"n": 1}, "lewis needs n >= 2 states and k >= 1 symbols, not n=1, k=4"),
        ("lewis", {"k": 0}, "not n=4, k=0"),
        ("lewis", {"states": 4}, "arena lewis: got an unexpected keyword argument 'states'; it takes n, k$"),
        ("lewis", {"n": "four"}, "^arena lewis: n is a whole number, not 'four'$"),
        ("lewis", {"n": 2.5}, "^arena lewis: n is a whole number, not 2.5$"),
        ("lewis", {"n": True}, "^arena lewis: n is a whole number, not True$"),
        ("hanabi", {"hints": "many"}, "^arena hanabi: hints is a whole number, not 'many'$"),
        ("matrix", {"game": 7}, "^arena matrix: game is a text, not 7$"),
        ("pointing", {"once": "maybe"}, "^arena pointing: once is true or false, not 'maybe'$"),
        ("pointing", {"once": 1}, "^arena pointing: once is true or false, not 1$"),
        ("reconstruction", {"held_out": "half"}, "^arena reconstruction: held_out is a number, not 'half'$"),
        ("lewiss", {}, "no arena 'lewiss': did you mean lewis"),
        ("poker", {}, "no arena 'poker': there are .*lewis, .*reference"),
        ("reference", {"distractors": 64}, "1 to 63 distractors, not length=3, alphabet=12, distractors=64"),
        ("reference", {"distractors": 0}, "distractors=0"),
        ("reference", {"length": 0}, "reference needs length >= 1"),
        ("reference", {"values": 1}, "values >= 2, not attributes=2 and values=1"),
        ("reconstruction", {"attributes": 0}, "objects need 1 to 12 attributes"),
        ("reconstruction", {"alphabet": 0}, "needs length and alphabet >= 1, .* not length=3, alphabet=0"),
        ("reconstruction", {"held_out": 1.0}, "held_out is a fraction from 0 to below 1"),
        ("reconstruction", {"held_out": -0.1}, "not held_out=-0.1"),
        ("reconstruction", {"held_out": 0.5, "attributes": 1}, "needs 2 attributes .* attributes=1"),
        ("reconstruction", {"held_out": 0.5, "attributes": 7}, "at most 1048576 objects"),
        (
            "gridworld",
            {"size": 2, "agents": 5},
            "gridworld needs size 3 to 8, agents 2 to 4, .* not size=2, agents=5, horizon=12, layouts=64",
        ),
        ("gridworld", {"horizon": 7}, "horizon 8 to 60 .* horizon=7"),
        ("gridworld", {"held_out": 1.0}, "held_out from 0 to below 1, leaving a layout, .* not held_out=1.0"),
        (
            "guess_who",
            {"attributes": 7},
            "guess_who needs 1 to 6 attributes, 2 to 4 values, .* not attributes=7",
        ),
        ("guess_who", {"price": 1}, "a price from 0 to below 1, not .* price=1"),
        ("guess_who", {"rounds": 0}, "rounds=0"),
        ("naming", {"names": 11}, "names from 2 to 10, .* not agents=4, names=11"),
        ("naming", {"agents": 1}, "naming needs agents >= 2"),
        ("naming", {"graph": "torus"}, r"a graph \(complete, ring, chain\) .* graph='torus'"),
        ("naming", {"miss": 2}, "miss <= 1, not .* miss=2"),
        ("relay", {"states": 1}, "relay needs states >= 2, .* not states=1"),
        ("relay", {"relays": 9}, "1 to 8 relays, not .* relays=9"),
        ("relay", {"graph": "torus"}, "graph is chain or diamond, or a list of edges, not 'torus'"),
        ("relay", {"graph": [["a", "b"]]}, r"between source_0, .* not \[\['a', 'b'\]\]"),
        ("speaker_listener", {"size": 6}, "speaker_listener needs size 2 to 5, 2 to 4 landmarks, .* not size=6"),
        ("speaker_listener", {"alphabet": 2}, "a symbol for each of them .* landmarks=3, alphabet=2"),
        ("speaker_listener", {"horizon": 0}, "horizon=0"),
        ("overcooked", {"layout": "ring"}, "overcooked has the layouts window, cramped_room, not 'ring'"),
        ("overcooked", {"size": 4}, r"overcooked needs 1 to 3 ingredients \(size\), .* not size=4, horizon=10, talk=1"),
        ("overcooked", {"talk": 11}, "talk before 0 to horizon of them, not .* talk=11"),
        ("overcooked", {"soup": 0}, "overcooked needs soup > 0, .* not soup=0, penalty=0.0, shaping=1.0"),
        (
            "liars_dice",
            {"dice": 6},
            "liars_dice needs 1 to 5 dice for each player and 2 to 6 faces, not dice=6, faces=6",
        ),
        ("liars_dice", {"faces": 1}, "not dice=1, faces=1"),
        ("tiny_hanabi", {"game": "G"}, "no tiny_hanabi game 'G': there are A, B, C, D, E, F$"),
        ("trade_comm", {"items": 1}, "trade_comm needs 2 to 1000 items, .* not items=1, spare=0, alone=0"),
        ("trade_comm", {"alone": 101}, "alone from 0 to 100, not items=10, spare=0, alone=101"),
        ("matrix", {"game": "chess"}, "no matrix game 'chess': there are prisoners_dilemma, .*; or give payoffs"),
        ("matrix", {"rounds": 0}, "matrix needs rounds >= 1, talk >= 0, alphabet >= 1, not rounds=0"),
        ("matrix", {"payoffs": []}, "rows of equal length of pairs"),
        ("matrix", {"payoffs": [[1, 2], [3, 4]]}, "rows of equal length of pairs"),
        ("matrix", {"payoffs": [[[1, 2]], [[1, 2], [3, 4]]]}, "rows of equal length of pairs"),
        ("matrix", {"payoffs": [[[1, float("nan")]]]}, "rows of equal length of pairs"),
        ("matrix", {"payoffs": [[["a", "b"]]]}, "rows of equal length of pairs"),
        ("commons", {"agents": 1}, "commons needs agents >= 2, 1 to 60 months, step >= 1 and talk >= 0, not agents=1"),
        ("commons", {"months": 61}, "months=61"),
        ("commons", {"talk": -1}, "talk=-1"),
        ("commons", {"stock": 90}, "a stock of 10 to 200 fish, a multiple of agents \\* step = 25, not stock=90"),
        ("commons", {"stock": 225}, "not stock=225"),
        ("public_goods", {"players": 1}, "public_goods needs players >= 2, rounds >= 1 and talk >= 0, not players=1"),
        ("public_goods", {"multiplier": 4.0}, "needs 1 < multiplier < players, not multiplier=4.0, players=4"),
        ("public_goods", {"step": 3}, "an endowment that is a multiple of step, both >= 1, not endowment=20, step=3"),
        ("negotiation", {"turns": -1}, "negotiation needs turns >= 0 and 1 to 4 words, not turns=-1, words=3"),
        ("negotiation", {"words": 5}, "words=5"),
        ("undercover", {"players": 2}, "undercover needs players >= 3, rounds >= 1 and 1 to 5 words, not players=2"),
        ("undercover", {"words": 0}, "words=0"),
        ("writing", {"characters": 20}, "writing needs 300 to 10000 characters for a text, not characters=20"),
        ("hanabi", {"size": "tiny"}, "no size 'tiny' of hanabi: there are very_small, small, full"),
        ("hanabi", {"players": 6}, "needs 2 to 5 players, .* not players=6"),
        ("hanabi", {"lives": 0}, "1 to 3 lives and a bomb from 0 to 1, not hints=None, lives=0"),
        ("hanabi", {"players": 5, "hand": 3}, "players=5 with 3 cards each need more than the 10 cards that there are"),
        ("hidden_profile", {"members": 4}, "needs 2 or 3 members, 3 to 5 candidates and points >= 1, not members=4"),
        ("hidden_profile", {"lookups": 4}, r"0 to 3 lookups \(None: all\), a price from 0 to 1, .* not lookups=4"),
        ("hidden_profile", {"points": 40}, "lists all tables, at most 1048576; .*, points=40 make "),
        ("hidden_profile", {"points": 2}, "no hidden profile has members=2, candidates=3, points=2: give more points"),
        ("switch_riddle", {"n": 1}, "needs 2 to 100 prisoners n, and days from n to 1000, not n=1, days=None"),
        ("switch_riddle", {"days": 2}, "not n=3, days=2"),
    ],
)
def test_message(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArenaError, match=message):
        arenas.make(name, **options)


def test_your_own_arena_can_be_made_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(arenas.ARENAS, "mine", arenas.ARENAS["lewis"])
    assert arenas.make("mine", n=3).cases == 3
    assert "mine" in arenas.names()
