"""How much a channel lets through: against closed forms, hand-worked numbers, and what is measured on it."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.channel import Channel
from protocols.effects import Budget, Delay, Duplicate, Effect, Erasure, Jam, Law, Loss, Noise, Rewrite, capacity
from protocols.effects.capacity import blahut_arimoto
from protocols.effects.message import START, Sent, Usage
from protocols.errors import ProtocolError

ALPHABET = ("a", "b", "c", "d")
PROBABILITY = st.floats(0, 1)


def laws(channel: Channel, alphabet: tuple[str, ...]) -> list[Law]:
    rows = [channel._law(symbol, alphabet, START) for symbol in alphabet]
    return [law for law in rows if law is not None]


@given(st.integers(2, 9), PROBABILITY, PROBABILITY, PROBABILITY)
def test_the_closed_form_is_what_blahut_arimoto_finds(q: int, noise: float, erasure: float, loss: float) -> None:
    alphabet = tuple(f"m{i}" for i in range(q))
    channel = Channel([Noise(p=noise), Erasure(p=erasure), Delay(seconds=1), Noise(p=0.1), Loss(p=loss)])
    closed = channel.capacity(alphabet)
    assert closed is not None
    assert blahut_arimoto(laws(channel, alphabet))[0] == pytest.approx(closed, abs=1e-8)


def test_known_capacities() -> None:
    assert Channel().capacity(ALPHABET) == 2.0
    assert Channel([Erasure(p=0.25)]).capacity(ALPHABET) == 1.5
    assert Channel([Noise(p=0.5)]).capacity(("a", "b")) == pytest.approx(0.0)
    assert Channel([Noise(p=1.0)]).capacity(("a", "b")) == 1.0  # always wrong is as good as always right
    assert Channel([Noise(p=0.11)]).capacity(("a", "b")) == pytest.approx(0.5, abs=1e-3)
    assert Channel([Noise(p=0.75)]).capacity(ALPHABET) == pytest.approx(0.0, abs=1e-12)
    assert Channel([Loss(p=1.0)]).capacity(ALPHABET) == 0.0
    assert Channel().capacity(("a",)) == 0.0
    assert Channel().capacity(()) is None  # free text


def test_the_z_channel() -> None:
    """1 becomes 0 half the time: C = log2(5/4), reached with p(1) = 2/5 (Cover & Thomas 2006, problem 7.8)."""
    bits, best = blahut_arimoto([{"0": 1.0}, {"0": 0.5, "1": 0.5}])
    assert bits == pytest.approx(log2(5 / 4), abs=1e-8)
    assert best == pytest.approx([0.6, 0.4], abs=1e-4)


def test_words_that_are_made_the_same_carry_nothing_between_them() -> None:
    assert Channel([Rewrite(table={"b": "a"})]).capacity(ALPHABET) == pytest.approx(log2(3), abs=1e-8)
    assert Channel([Rewrite(table={"a": "b", "b": "a"})]).capacity(ALPHABET) == pytest.approx(2.0, abs=1e-8)
    assert Channel([Rewrite(by="shuffle")]).capacity(ALPHABET) is None
    assert Channel([Rewrite(by="shuffle")]).capacity_per_message([ALPHABET] * 2, 2, ALPHABET) is None


def test_a_second_copy_is_a_second_look_only_where_it_was_disturbed_apart() -> None:
    one = Channel([Noise(p=0.2)]).capacity(ALPHABET)
    same = Channel([Noise(p=0.2), Duplicate(p=1.0)]).capacity(ALPHABET)
    apart = Channel([Duplicate(p=1.0), Noise(p=0.2)]).capacity(ALPHABET)
    assert one is not None
    assert same == pytest.approx(one, abs=1e-8)
    assert apart is not None
    assert one + 0.1 < apart < 2.0
    # Two looks through an erasure channel: nothing only if both are erased.
    assert Channel([Duplicate(p=1.0), Erasure(p=0.5)]).capacity(ALPHABET) == pytest.approx(0.75 * 2, abs=1e-8)
    assert Channel([Duplicate(p=0.5), Loss(p=0.5)]).capacity(ALPHABET) == pytest.approx(2 * (0.25 + 0.375), abs=1e-8)


def test_some_inputs_of_a_noisy_alphabet() -> None:
    channel = Channel([Noise(p=0.3)])
    two, all_ = channel.capacity(ALPHABET, ("a", "b")), channel.capacity(ALPHABET)
    assert two is not None
    assert all_ is not None
    assert 0 < two < min(all_, 1.0)


def test_a_jammed_moment() -> None:
    channel = Channel([Jam(windows=((1, 2),), p=0.5)])
    assert channel.capacity(ALPHABET) == 2.0
    assert channel.capacity(ALPHABET, sent=Sent(time=1.5)) == 1.0


@given(st.lists(st.sampled_from([Noise(p=0.1), Erasure(p=0.2), Loss(p=0.3), Duplicate(p=0.5)]), max_size=3))
def test_what_follows_in_the_row_never_adds_information(effects: list[Effect]) -> None:
    """The data-processing inequality, also where a copy is made in between: nothing comes back."""
    bits = [Channel(effects[:n]).capacity(ALPHABET) for n in range(len(effects) + 1)]
    defined = [b for b in bits if b is not None]
    assert len(defined) == len(bits)
    assert defined[0] == 2.0
    first_copy = next((n for n, effect in enumerate(effects) if isinstance(effect, Duplicate)), len(effects))
    before = defined[: first_copy + 1]
    assert all(later <= earlier + 1e-8 for earlier, later in pairwise(before))
    assert max(defined) <= 2.0 + 1e-8


def test_messages() -> None:
    places = [ALPHABET] * 3
    assert Channel().capacity_per_message(places, 3, ALPHABET) == pytest.approx(6.0)
    assert Channel().capacity_per_message(places, 0, ALPHABET) == pytest.approx(log2(1 + 4 + 16 + 64))
    assert Channel([Budget(symbols=2)]).capacity_per_message(places, 3, ALPHABET) == pytest.approx(4.0)
    assert Channel([Budget(symbols=1)]).capacity_per_message(places, 0, ALPHABET) == pytest.approx(log2(5))
    assert Channel([Loss(p=0.5)]).capacity_per_message(places, 0, ALPHABET) == pytest.approx(log2(85) / 2)
    assert Channel([Loss(p=1.0)]).capacity_per_message(places, 0, ALPHABET) == 0.0
    spent = Channel([Budget(symbols=4, per="episode")])
    rest = spent.capacity_per_message(places, 3, ALPHABET, Sent(episode=Usage(1, 3)))
    assert rest == pytest.approx(2.0)
    assert Channel().capacity_per_message([ALPHABET, ("a", "b")], 2, ALPHABET) == pytest.approx(3.0)


@pytest.mark.parametrize(
    "effects",
    [[Noise(p=0.3)], [Erasure(p=0.4), Noise(p=0.1)], [Duplicate(p=0.5), Noise(p=0.4), Loss(p=0.3)]],
)
def test_the_law_is_what_the_channel_does(effects: list[Effect]) -> None:
    channel, trials = Channel(effects), 20_000
    law = channel._law("a", ALPHABET, START)
    assert law is not None
    assert sum(law.values()) == pytest.approx(1.0)
    counts: Counter[tuple[str, ...]] = Counter()
    for seed in range(trials):
        copies = channel.carry(channel.send(("a",), ALPHABET, seed), seed, "b_0")
        counts[tuple(symbol for copy in copies for symbol in copy.symbols or ())] += 1
    for outcome in {*law, *counts}:
        p = law.get(outcome, 0.0)
        assert abs(counts[outcome] / trials - p) < 5 * (p * (1 - p) / trials) ** 0.5 + 1e-9


def test_too_few_steps_are_said_to_be() -> None:
    with pytest.raises(ProtocolError, match="allow a larger tolerance"):
        blahut_arimoto([{"0": 1.0}, {"0": 0.5, "1": 0.5}], most=2)
    assert capacity.symmetric(1, 0.5) == capacity.erasure(1, 0.5) == 0.0
    assert blahut_arimoto([]) == (0.0, [])
