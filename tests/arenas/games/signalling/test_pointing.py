"""The listener of pointing points a candidate out by its values, and is told nothing by what it is asked."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, islice, permutations, product
from zlib import crc32

import pytest

from arenas.games.signalling.discrimination import LISTENER, SPEAKER
from arenas.games.signalling.pointing import Pointing
from arenas.spec import Words, objects

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
    for among in islice(combinations(map(arena.objects.words, range(arena.cases)), candidates), 40):
        for order, listener in product(permutations(range(attributes)), listeners):
            paid = 0.0
            for target in among:
                arena.begin(1)
                arena.order, arena.target, arena.left = list(order), target, among
                paid += point(arena, listener)[0]
            assert paid == 1.0


@pytest.mark.parametrize(("attributes", "values", "candidates"), SIZES)
@pytest.mark.parametrize("shown", [True, False])
def test_what_is_named_at_once_without_a_message_is_right_for_one_target(
    attributes: int, values: int, candidates: int, shown: bool
) -> None:
    """Whatever is named, what is paid for it adds up to 1 over the targets, so chance stays 1/(d+1)."""
    naming = objects(attributes, values)
    for among in islice(combinations(map(naming.words, range(naming.size)), candidates), 40):
        paid: dict[Words, float] = {}
        for target in among:
            arena = Pointing(attributes, values, candidates - 1, 1, 1, shown, once=True)
            arena.begin(1)
            arena.target, arena.left = target, among
            arena.resolve({SPEAKER: arena.spec(SPEAKER).default})
            spec = arena.spec(LISTENER)
            assert [set(step) for step in spec.steps] == [set(step) for step in zip(*among, strict=True)]
            for named in map(spec.words, range(spec.size)):
                outcome = arena.copy().resolve({LISTENER: named})
                assert outcome.done
                assert outcome.rewards[SPEAKER] == outcome.rewards[LISTENER]
                assert outcome.rewards[LISTENER] == 1.0 or named != target
                paid[named] = paid.get(named, 0.0) + outcome.rewards[LISTENER]
        assert list(paid.values()) == pytest.approx([1.0] * len(paid))


def test_what_has_most_of_what_is_named_at_once_is_chosen() -> None:
    rewards = {("a1", "b3"): 1.0, ("a0", "b3"): 0.5, ("a2", "b3"): 1 / 3, ("a1", "b2"): 0.0, ("a0", "b0"): 0.0}
    for named, paid in rewards.items():
        arena = Pointing(2, 4, 4, once=True)
        arena.begin(1)
        arena.target, arena.left = ("a1", "b3"), (("a1", "b2"), ("a0", "b0"), ("a1", "b3"), ("a2", "b1"), ("a2", "b0"))
        arena.resolve({SPEAKER: arena.spec(SPEAKER).default})
        outcome = arena.resolve({LISTENER: named})
        assert (outcome.rewards, outcome.done) == ({SPEAKER: paid, LISTENER: paid}, True), named


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
