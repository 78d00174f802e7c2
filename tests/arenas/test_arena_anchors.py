"""Anchors are what play gives: random replies, the best silent play, and the best code, each scripted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations, product
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest

import arenas
from arenas import Arena
from arenas.reconstruction import Reconstruction, best_fraction
from arenas.reference import best_score
from arenas.spec import Words, objects

Player = Callable[[str, list[str], list[Words]], Words]
"""(agent, words of its view, messages heard) -> reply."""

SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("lewis", {}),
    ("lewis", {"n": 5, "k": 2}),
    ("reference", {}),
    ("reference", {"distractors": 1, "length": 1, "alphabet": 2}),
    ("reconstruction", {}),
    ("reconstruction", {"values": 3, "partial": False}),
    ("reconstruction", {"values": 4, "partial": False, "held_out": 0.5}),
    ("reconstruction", {"attributes": 3, "values": 3, "held_out": 0.3}),
    ("matrix", {"rounds": 2}),
    ("matrix", {"game": "prisoners_dilemma", "rounds": 4}),
    ("matrix", {"game": "stag_hunt"}),
    ("matrix", {"game": "chicken"}),
    ("matrix", {"game": "battle_of_the_sexes"}),
    ("matrix", {"game": "matching_pennies"}),
    ("matrix", {"game": "rock_paper_scissors", "rounds": 3}),
    ("matrix", {"game": "penalty", "k": -10}),
    ("matrix", {"payoffs": [[[1, 2], [0, 5], [3, -1]]]}),
]


def play(arena: Arena, player: Player, seed: int | None = None, case: int | None = None) -> float:
    """Play an episode and return the mean of the agents' returns."""
    arena.begin(seed, case=case)
    returns = dict.fromkeys(arena.possible_agents, 0.0)
    said: list[Words] = []
    while True:
        specs = {agent: arena.spec(agent) for agent in arena.acting()}
        replies: dict[str, Words | None] = {agent: player(agent, arena.view(agent).split(), said) for agent in specs}
        outcome = arena.advance(replies)
        said += [reply for agent, reply in replies.items() if reply is not None and specs[agent].kind == "say"]
        for agent, reward in outcome.rewards.items():
            returns[agent] += reward
        if outcome.done:
            return fmean(returns.values())


def over_cases(arena: Arena, player: Player, cases: Iterable[int]) -> float:
    return fmean(play(arena, player, 0, case) for case in cases)


def assert_mean(scores: list[float], expected: float) -> None:
    """Within four standard errors; the seeds are fixed, so this passes always or never."""
    assert abs(fmean(scores) - expected) <= 4 * stdev(scores) / len(scores) ** 0.5 + 1e-9


@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=str)
def test_random_replies_score_random(name: str, options: dict[str, Any]) -> None:
    arena = arenas.make(name, **options)
    draws = np.random.default_rng(11)

    def anything(agent: str, view: list[str], heard: list[Words]) -> Words:
        spec = arena.spec(agent)
        return spec.words(int(draws.integers(spec.size)))

    assert_mean([play(arena, anything, seed) for seed in range(1500)], arena.anchors().random)


@pytest.mark.parametrize(("name", "options"), SETTINGS[:8], ids=str)
def test_the_same_reply_always_scores_silent(name: str, options: dict[str, Any]) -> None:
    arena = arenas.make(name, **options)
    dealt = arena.splits()["train"][0]
    best = objects(arena.attributes, arena.values).words(dealt) if isinstance(arena, Reconstruction) else None

    def constant(agent: str, view: list[str], heard: list[Words]) -> Words:
        return best if best and agent == "listener_0" else arena.spec(agent).words(0)

    silent = arena.anchors().silent
    if name == "reference":  # the distractors are drawn too
        assert_mean([play(arena, constant, seed) for seed in range(1500)], silent)
    else:
        assert over_cases(arena, constant, arena.splits()["train"]) == pytest.approx(silent)


@pytest.mark.parametrize(("n", "k"), [(4, 4), (5, 3), (3, 7), (4, 1)])
def test_lewis_code(n: int, k: int) -> None:
    arena = arenas.make("lewis", n=n, k=k)

    def code(agent: str, view: list[str], heard: list[Words]) -> Words:
        if agent == "sender_0":
            return (f"m{min(int(view[1][1:]), k - 1)}",)
        return (f"s{min(int(heard[0][0][1:]), n - 1)}",)

    assert over_cases(arena, code, range(n)) == pytest.approx(arena.anchors().full)


@pytest.mark.parametrize("options", [{}, {"attributes": 1, "values": 6, "distractors": 2, "length": 1, "alphabet": 4}])
def test_reference_code(options: dict[str, int]) -> None:
    """The message is the target's number modulo the messages; the listener takes the first candidate it fits."""
    arena = arenas.make("reference", **options)
    space = objects(options.get("attributes", 2), options.get("values", 8))
    messages = arena.replies["speaker_0"][0]
    attributes = len(space.steps)

    def message(words: list[str]) -> Words:
        return messages.words(space.index(tuple(words)) % messages.size)

    def code(agent: str, view: list[str], heard: list[Words]) -> Words:
        if agent == "speaker_0":
            return message(view[1:])
        candidates = [view[i : i + attributes + 1] for i in range(1, len(view), attributes + 1)]
        return (next(position for position, *words in candidates if message(words) == heard[0]),)

    full = arena.anchors().full
    assert (full == 1.0) == (messages.size >= space.size)
    assert_mean([play(arena, code, seed) for seed in range(1500)], full)


@pytest.mark.parametrize("drawn", [2, 3, 5])
def test_no_way_to_sort_objects_into_classes_beats_best_score(drawn: int) -> None:
    """Brute force over all codes for five objects, with the expectation written out."""
    for messages in range(1, 7):
        values = [
            fmean(len({code[i] for i in shown}) / drawn for shown in combinations(range(5), drawn))
            for code in product(range(min(messages, 5)), repeat=5)
        ]
        assert max(values) == pytest.approx(best_score(5, messages, drawn - 1))


def test_best_score_counts_large_spaces_exactly() -> None:
    assert best_score(10**12, 10**12, 9) == best_score(10**12, 10**30, 9) == 1.0
    assert best_score(10**12, 10**6, 1) == pytest.approx(1 - 0.5 / 10**6, rel=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"partial": False},
        {"held_out": 0.25, "length": 2},
        {"values": 4, "length": 1, "alphabet": 3},
        {"values": 4, "length": 1, "alphabet": 6},
        {"values": 4, "length": 2, "alphabet": 3, "partial": False},
        {"attributes": 1, "values": 5, "length": 1, "alphabet": 3},
        {"values": 4, "length": 1, "alphabet": 5, "partial": False, "held_out": 0.5},
    ],
    ids=str,
)
def test_reconstruction_code(options: dict[str, Any]) -> None:
    """The code words lie on the diagonals, one after another; the speaker points to the nearest."""
    arena = Reconstruction(**options)
    space, messages = arena.replies["listener_0"][0], arena.replies["speaker_0"][0]
    dealt = arena.splits()["train"]
    v = arena.values
    diagonal = [(f"a{i}", f"b{(i + shift) % v}")[: arena.attributes] for shift, i in product(range(v), range(v))]
    words = [word for word in dict.fromkeys(diagonal) if space.index(word) in dealt][: messages.size]

    def code(agent: str, view: list[str], heard: list[Words]) -> Words:
        if agent == "speaker_0":
            right = [sum(a == b for a, b in zip(word, view[1:], strict=True)) for word in words]
            return messages.words(int(np.argmax(right)))
        return words[messages.index(heard[0])]

    assert over_cases(arena, code, dealt) == pytest.approx(arena.anchors().full)


def best_codebook(attributes: int, values: int, messages: int, dealt: list[tuple[int, ...]]) -> float:
    """Brute force over all code books."""
    space = list(product(range(values), repeat=attributes))
    right = np.array([[sum(a == b for a, b in zip(x, y, strict=True)) for y in dealt] for x in space])
    books = combinations(range(len(space)), messages)
    return max(float(right[list(book)].max(0).mean()) for book in books) / attributes


@pytest.mark.parametrize(
    ("attributes", "values", "exact"),
    [(1, 4, {1, 2, 3, 4}), (2, 3, set(range(1, 10))), (3, 2, {1, 2, 4, 7, 8})],
)
def test_no_code_book_beats_best_fraction(attributes: int, values: int, exact: set[int]) -> None:
    dealt = list(product(range(values), repeat=attributes))
    reached = set()
    for messages in range(1, len(dealt) + 1):
        bound = best_fraction(attributes, values, messages, len(dealt))
        best = best_codebook(attributes, values, messages, dealt)
        assert best <= bound + 1e-9
        if abs(best - bound) < 1e-9:
            reached.add(messages)
    assert reached >= exact


def test_best_fraction_bounds_codes_for_held_out_splits_too() -> None:
    dealt: list[tuple[int, ...]] = [x for x in product(range(3), repeat=2) if sum(x) % 3]
    for messages in range(1, 7):
        assert best_codebook(2, 3, messages, dealt) <= best_fraction(2, 3, messages, len(dealt)) + 1e-9


@pytest.mark.parametrize(("name", "options"), [s for s in SETTINGS if s[0] == "matrix"], ids=str)
def test_the_best_cell_scores_silent_and_full(name: str, options: dict[str, Any]) -> None:
    arena = arenas.make(name, **options)
    actions = {agent: specs[0].steps[0] for agent, specs in arena.replies.items()}

    def always(cell: tuple[str, ...]) -> Player:
        replies = dict(zip(actions, cell, strict=True))
        return lambda agent, view, heard: (replies[agent],)

    best = max(play(arena, always(cell), 0) for cell in product(*actions.values()))
    known = arena.anchors()
    assert best == pytest.approx(known.full) == pytest.approx(known.silent)
    assert known.communication_gain(best) is None
