"""The listener of pointing points a candidate out by its values, and is told nothing by what it is asked."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, islice, permutations, product
from zlib import crc32

import pytest

from arenas.pointing import Pointing
from arenas.reference import LISTENER, SPEAKER
from arenas.spec import Words

Listener = Callable[[str, Words], str]


def point(arena: Pointing, listener: Listener) -> tuple[float, int]:
    """Play on after a message; return what is paid, and the questions."""
    arena.resolve({SPEAKER: arena.spec(SPEAKER).default})
    for questions in range(1, 100):
        options = arena.spec(LISTENER).alphabet
        outcome = arena.resolve({LISTENER: (listener(arena.view(LISTENER), options),)})
        if outcome.done:
            return outcome.rewards[LISTENER], questions
    raise AssertionError("it does not end")


SIZES = [(2, 3, 2), (2, 3, 4), (3, 2, 3), (3, 2, 8), (1, 4, 3)]


@pytest.mark.parametrize(("attributes", "values", "candidates"), SIZES)
def test_whatever_a_listener_does_without_a_message_is_right_for_one_target(
    attributes: int, values: int, candidates: int
) -> None:
    """So the options and further questions tell it nothing, and every blind listener is right once in d+1."""
    arena = Pointing(attributes, values, candidates - 1, 1, 1)

    def drawn(salt: int) -> Listener:
        return lambda view, options: options[crc32(f"{salt} {view}".encode()) % len(options)]

    listeners: list[Listener] = [lambda _, options: options[0], lambda _, options: options[-1], *map(drawn, range(5))]
    for objects in islice(combinations(map(arena.objects.words, range(arena.cases)), candidates), 40):
        for order, listener in product(permutations(range(attributes)), listeners):
            paid = 0.0
            for target in objects:
                arena.begin(1)
                arena.order, arena.target, arena.left = list(order), target, objects
                paid += point(arena, listener)[0]
            assert paid == 1.0


def test_naming_the_target_is_right_within_as_many_questions_as_there_are_attributes() -> None:
    for attributes, distractors in product((1, 2, 3), (1, 3, 6)):
        arena = Pointing(attributes, 8, distractors)
        for seed in range(30):
            arena.begin(seed)
            target = arena.target
            paid, questions = point(arena, lambda _, options, t=target: next(v for v in t if v in options))  # type: ignore[misc]
            assert paid == 1.0
            assert questions <= attributes


def test_it_asks_for_what_tells_most_candidates_apart() -> None:
    arena = Pointing(2, 4, 3)
    arena.begin(1)
    arena.target = ("a1", "b3")
    assert sorted(arena.order) == [0, 1]
    arena.order, arena.left = [0, 1], (("a1", "b2"), ("a0", "b0"), ("a1", "b3"), ("a0", "b2"))
    arena.resolve({SPEAKER: arena.spec(SPEAKER).default})
    assert arena.view(LISTENER) == "among a1 b2 a0 b0 a1 b3 a0 b2"
    assert arena.spec(LISTENER).alphabet == ("b0", "b2", "b3")
    assert arena.copy().resolve({LISTENER: ("b3",)}).rewards == {SPEAKER: 1.0, LISTENER: 1.0}
    arena.target = ("a1", "b2")
    assert not arena.resolve({LISTENER: ("b2",)}).done
    assert (arena.view(LISTENER), arena.spec(LISTENER).alphabet) == ("among a1 b2 a0 b2", ("a0", "a1"))
    assert arena.resolve({LISTENER: ("a0",)}).rewards == {SPEAKER: 0.0, LISTENER: 0.0}
