"""The settings in which every arena is checked: its defaults, then corners. Golden files hold the first three."""

from __future__ import annotations

from typing import Any, Final

SETTINGS: Final[dict[str, list[dict[str, Any]]]] = {
    "arithmetic": [
        {},
        {"most": 3, "terms": 4, "signs": "*-"},
        {"most": 1, "signs": "*"},
        {"most": 99, "signs": "+-*"},
        {"free": 0},
    ],
    "commons": [
        {},
        {"months": 3, "step": 1, "talk": 1},
        {"agents": 3, "stock": 60, "months": 4, "talk": 2},
        {"agents": 2, "stock": 12, "months": 2, "step": 3},
        {"agents": 10, "stock": 50, "months": 1, "talk": 3},
    ],
    "document": [{}, {"chunks": 1, "facts": 1, "colours": 2}, {"chunks": 20, "facts": 3, "colours": 8, "least": 2}],
    "gridworld": [
        {},
        {"size": 3, "agents": 2, "layouts": 20},
        {"size": 4, "agents": 4, "horizon": 16, "layouts": 20},
        {"size": 5, "agents": 3, "horizon": 30, "layouts": 12, "held_out": 0.0, "seed": 3},
    ],
    "guess_who": [
        {},
        {"attributes": 3, "values": 3, "rounds": 6, "price": 0.02},
        {"attributes": 1, "values": 4, "rounds": 1, "price": 0.0},
        {"attributes": 2, "values": 4, "rounds": 3, "price": 0.2},
    ],
    "hanabi": [
        {},
        {"size": "small", "bomb": 1.0},
        {"players": 3, "hints": 2, "lives": 2, "colors": 2, "ranks": 3},
        {"hand": 1, "hints": 1, "ranks": 2},
        {"players": 5, "hand": 2},
    ],
    "hidden_profile": [
        {},
        {"members": 3, "lookups": 2, "price": 0.1},
        {"candidates": 4, "length": 2, "rounds": 2},
        {"rounds": 0, "lookups": 0},
        {"points": 3, "length": 1, "price": 0.05},
    ],
    "kuhn": [{}],
    "leduc": [{}],
    "lewis": [{}, {"n": 3, "k": 2}, {"n": 2, "k": 1}, {"n": 5, "k": 2}, {"n": 30, "k": 7}],
    "liars_dice": [{}, {"dice": 2, "faces": 3}, {"faces": 2}, {"dice": 5}],
    "matrix": [
        {},
        {"game": "prisoners_dilemma", "rounds": 3},
        {"game": "rock_paper_scissors", "rounds": 2},
        {"game": "penalty", "k": -5, "rounds": 2},
        {"game": "stag_hunt", "rounds": 3, "talk": 2, "alphabet": 3},
        {"payoffs": [[[1, 2], [0, 0.5], [3, -1]], [[4, 0], [2, 2], [1, 1]]], "rounds": 3},
    ],
    "naming": [
        {},
        {"agents": 10, "names": 10, "rounds": 20, "graph": "ring", "miss": -0.5},
        {"agents": 2, "names": 2, "rounds": 1, "graph": "chain"},
    ],
    "negotiation": [{}, {"turns": 2, "words": 4}, {"turns": 0}, {"turns": 5, "words": 1}, {"turns": 1}],
    "overcooked": [
        {},
        {"layout": "cramped_room", "horizon": 10},
        {"size": 2, "horizon": 12, "talk": 2, "penalty": 5.0},
        {"layout": "cramped_room", "size": 2, "horizon": 12, "talk": 0, "shaping": 0.0},
        {"horizon": 6, "soup": 1.0, "shaping": 2.0},
    ],
    "population": [
        {},
        {"agents": 5, "graph": "star", "game": "reconstruction", "values": 3, "length": 2, "alphabet": 4},
        {"agents": 3, "graph": [["agent_0", "agent_1"], ["agent_1", "agent_2"]], "n": 3, "k": 3},
        {"agents": 6, "graph": "ring", "game": "reconstruction", "values": 4, "held_out": 0.25},
        {"agents": 2, "game": "trade_comm", "items": 3},
    ],
    "public_goods": [
        {},
        {"players": 3, "endowment": 10, "multiplier": 2.5, "rounds": 2, "talk": 0},
        {"players": 2, "endowment": 3, "multiplier": 1.5, "rounds": 3, "step": 1, "talk": 1},
        {"players": 6, "rounds": 1, "step": 20},
    ],
    "reconstruction": [
        {},
        {"attributes": 3, "values": 4, "partial": False, "held_out": 0.25},
        {"partial": False, "held_out": 0.25},
        {"attributes": 1, "values": 2, "length": 1, "alphabet": 1},
        {"attributes": 4, "values": 5, "length": 2, "held_out": 0.2},
        {"values": 3, "length": 2, "alphabet": 3, "least": 1},
    ],
    "pointing": [
        {},
        {"attributes": 3, "values": 3, "distractors": 1, "length": 1, "alphabet": 5},
        {"attributes": 1, "values": 2, "distractors": 1, "length": 1, "alphabet": 1},
        {"attributes": 12, "values": 10, "distractors": 9, "length": 5, "alphabet": 3},
        {"attributes": 2, "values": 3, "distractors": 8},
        {"attributes": 2, "values": 10, "length": 2, "alphabet": 32, "shown": False},
        {"attributes": 2, "values": 5, "length": 1, "alphabet": 4, "shown": False},
        {"attributes": 2, "values": 10, "length": 2, "alphabet": 32, "shown": False, "once": True},
        {"attributes": 3, "values": 2, "distractors": 3, "length": 1, "alphabet": 5, "once": True},
    ],
    "reference": [
        {},
        {"attributes": 3, "values": 3, "distractors": 1, "length": 1, "alphabet": 5},
        {"attributes": 1, "values": 2, "distractors": 1, "length": 1, "alphabet": 1},
        {"attributes": 12, "values": 10, "distractors": 9, "length": 5, "alphabet": 3},
        {"attributes": 2, "values": 3, "distractors": 8},
    ],
    "relay": [
        {},
        {"graph": "diamond", "relays": 2, "alphabet": 2},
        {
            "states": 10,
            "alphabet": 2,
            "length": 2,
            "graph": [
                ["source_0", "relay_0"],
                ["relay_0", "relay_1"],
                ["source_0", "relay_1"],
                ["relay_0", "sink_0"],
                ["relay_1", "sink_0"],
            ],
        },
        {"states": 5, "alphabet": 3, "relays": 3},
        {"states": 2, "alphabet": 1, "graph": [["source_0", "sink_0"]]},
    ],
    "speaker_listener": [
        {},
        {"landmarks": 2, "scattered": True},
        {"size": 4, "landmarks": 4, "horizon": 5},
        {"size": 2, "landmarks": 2, "horizon": 1, "scattered": True, "alphabet": 2},
        {"size": 5, "landmarks": 3, "horizon": 2, "scattered": True},
    ],
    "switch_riddle": [{}, {"n": 2}, {"n": 4}, {"n": 3, "days": 3}, {"n": 6, "days": 9}],
    "tictactoe": [{}],
    "tiny_hanabi": [{}, {"game": "A"}, {"game": "B"}, {"game": "C"}, {"game": "D"}, {"game": "F"}],
    "trade_comm": [
        {},
        {"items": 3},
        {"items": 2},
        {"items": 4, "spare": 2},
        {"items": 3, "alone": 100},
        {"items": 2, "alone": 30},
    ],
    "undercover": [
        {},
        {"players": 6, "words": 3},
        {"players": 3, "rounds": 2},
        {"players": 4, "rounds": 3, "words": 5},
    ],
    "writing": [{}, {"characters": 300}],
}
CASES: Final = [(name, options) for name, several in SETTINGS.items() for options in several]

SCRIPTED: Final[dict[str, list[dict[str, Any]]]] = {
    "hidden_profile": [{"members": 3}, {"points": 6, "rounds": 3, "length": 1}],
    "lewis": [{"n": 5, "k": 3}, {"n": 3, "k": 7}],
    "matrix": [
        {"rounds": 2},
        {"game": "stag_hunt"},
        {"game": "chicken"},
        {"game": "battle_of_the_sexes"},
        {"game": "matching_pennies", "rounds": 2, "talk": 1},
        {"payoffs": [[[1, 2], [0, 5], [3, -1]]]},
    ],
    "reconstruction": [
        {"values": 3, "partial": False},
        {"held_out": 0.25, "length": 2},
        {"values": 4, "length": 1, "alphabet": 3},
        {"values": 4, "length": 1, "alphabet": 6},
        {"values": 4, "length": 2, "alphabet": 3, "partial": False},
        {"attributes": 1, "values": 5, "length": 1, "alphabet": 3},
        {"values": 4, "length": 1, "alphabet": 5, "partial": False, "held_out": 0.5},
    ],
    "pointing": [
        {"distractors": 1, "length": 1, "alphabet": 2},
        {"attributes": 1, "values": 6, "distractors": 2, "length": 1, "alphabet": 4},
    ],
    "reference": [
        {"distractors": 1, "length": 1, "alphabet": 2},
        {"attributes": 1, "values": 6, "distractors": 2, "length": 1, "alphabet": 4},
    ],
    "switch_riddle": [{"days": 5}, {"n": 2, "days": 5}],
}
"""Further settings in which scripts are played against the anchors, and one of them is the optimum."""
