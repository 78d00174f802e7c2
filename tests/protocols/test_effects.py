"""What each effect does to messages, beside those of test_channel.py."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from protocols.channel import Channel
from protocols.effects import (
    ERASED,
    REWRITERS,
    Budget,
    Delay,
    Duplicate,
    Eavesdrop,
    Effect,
    EffectConfig,
    Erasure,
    Jam,
    Loss,
    Noise,
    Price,
    Reorder,
    Rewrite,
)
from protocols.effects.message import Message, Sent, Usage

EFFECT: TypeAdapter[Effect] = TypeAdapter(EffectConfig)
ALPHABET = ("a", "b", "c", "d")
TRIALS = 4000
PROBABILITY = st.floats(0, 1)
SYMBOLS = st.lists(st.sampled_from(ALPHABET), max_size=8).map(tuple)
SEEDS = st.integers(0, 2**64 - 1)
ANY = st.one_of(
    st.builds(Loss, p=PROBABILITY),
    st.builds(Noise, p=PROBABILITY),
    st.builds(Erasure, p=PROBABILITY),
    st.builds(Duplicate, p=PROBABILITY),
    st.builds(Reorder, p=PROBABILITY, seconds=st.floats(0.1, 5)),
    st.builds(Delay, seconds=st.floats(0, 5)),
    st.just(Jam(windows=((1.0, 2.0),), p=0.5)),
    st.just(Rewrite(by="shuffle")),
    st.just(Rewrite(table={"a": "b"})),
    st.just(Eavesdrop(seat="e_0")),
)


def near(hits: int, trials: int, p: float) -> bool:
    return abs(hits / trials - p) < 5 * math.sqrt(p * (1 - p) / trials) + 1e-12


@given(SYMBOLS, st.lists(ANY, max_size=5), SEEDS)
def test_a_message_keeps_its_length_or_is_lost_and_the_same_seed_gives_the_same(
    symbols: tuple[str, ...], effects: list[Effect], seed: int
) -> None:
    first, second = (
        c.carry(c.send(symbols, ALPHABET, seed), seed, "b_0") for c in (Channel(effects), Channel(effects))
    )
    assert first == second
    assert 1 <= len(first) <= 2 ** sum(isinstance(e, Duplicate) for e in effects)
    for delivery in first:
        assert delivery.symbols is None or len(delivery.symbols) == len(symbols)
        assert delivery.delay >= 0


@pytest.mark.parametrize("p", [0.0, 0.2, 1.0])
def test_erasure_rate_and_independence(p: float) -> None:
    channel = Channel([Erasure(p=p)])
    message = channel.send(("a", "b"), ALPHABET)
    heard = [channel.carry(message, seed, "b_0")[0].symbols or () for seed in range(TRIALS)]
    for place, sent in enumerate(message.symbols):
        assert {symbols[place] for symbols in heard} <= {sent, ERASED}
        assert near(sum(symbols[place] == ERASED for symbols in heard), TRIALS, p)
    assert near(sum(symbols == (ERASED, ERASED) for symbols in heard), TRIALS, p * p)
    assert channel.words == (ERASED,)


def test_noise_leaves_what_was_erased() -> None:
    channel = Channel([Erasure(p=1.0), Noise(p=1.0)])
    assert channel.carry(channel.send(("a", "b"), ALPHABET), 1, "b_0")[0].symbols == (ERASED, ERASED)


@pytest.mark.parametrize(
    ("jam", "sent", "delay", "lost"),
    [
        (Jam(windows=((1, 2),)), Sent(time=0.99), 0, False),
        (Jam(windows=((1, 2),)), Sent(time=1), 0, True),
        (Jam(windows=((1, 2),)), Sent(time=2), 0, False),
        (Jam(windows=((1, 2),)), Sent(time=0.5), 0.75, True),  # it passes here while the window is open
        (Jam(windows=((1, 2), (4, 5))), Sent(time=4.5), 0, True),
        (Jam(windows=((1, 3),), unit="rounds"), Sent(time=9, round=2), 0, True),
        (Jam(windows=((1, 3),), unit="rounds"), Sent(time=1, round=3), 0, False),
        (Jam(windows=((1, 2),), p=0), Sent(time=1), 0, False),
    ],
)
def test_a_jammed_window_loses_what_passes(jam: Jam, sent: Sent, delay: float, lost: bool) -> None:
    channel = Channel([Delay(seconds=delay), jam])
    message = channel.send(("a",), ALPHABET, sent=sent)
    assert (channel.carry(message, 3, "b_0")[0].symbols is None) == lost


def test_reordering_lets_later_messages_overtake() -> None:
    channel = Channel([Reorder(p=0.25, seconds=2.0)])
    delays = [channel.carry(Message(("a",)), seed, "b_0")[0].delay for seed in range(TRIALS)]
    assert set(delays) == {0.0, 2.0}
    assert near(delays.count(2.0), TRIALS, 0.25)


def test_copies_come_as_often_as_they_should_and_are_disturbed_apart() -> None:
    channel = Channel([Duplicate(p=0.5), Noise(p=0.5)])
    message = channel.send(("a",), ALPHABET)
    carried = [channel.carry(message, seed, "b_0") for seed in range(TRIALS)]
    twice = [deliveries for deliveries in carried if len(deliveries) == 2]
    assert near(len(twice), TRIALS, 0.5)
    assert near(sum(first.symbols == ("a",) for first, _ in twice), len(twice), 0.5)
    assert near(sum(first.symbols == second.symbols == ("a",) for first, second in twice), len(twice), 0.25)
    late = Channel([Noise(p=0.5), Duplicate(p=1.0)])
    assert all(first == second for first, second in (late.carry(message, seed, "b_0") for seed in range(50)))


def test_what_is_lost_is_not_doubled() -> None:
    channel = Channel([Loss(p=1.0), Duplicate(p=1.0)])
    assert [d.symbols for d in channel.carry(Message(("a",)), 1, "b_0")] == [None]


@pytest.mark.parametrize(
    ("budget", "turn", "episode", "left"),
    [
        (Budget(symbols=2), Usage(9, 99), Usage(9, 99), 2),
        (Budget(symbols=5, per="turn"), Usage(1, 3), Usage(9, 99), 2),
        (Budget(symbols=5, per="episode"), Usage(0, 0), Usage(2, 4), 1),
        (Budget(symbols=5, per="episode"), Usage(0, 0), Usage(2, 6), 0),
        (Budget(messages=1, per="turn"), Usage(0, 0), Usage(5, 5), 3),
        (Budget(messages=1, per="turn"), Usage(1, 1), Usage(5, 5), 0),
        (Budget(messages=2, symbols=1, per="episode"), Usage(0, 0), Usage(1, 0), 1),
        (Budget(messages=2, symbols=1, per="episode"), Usage(0, 0), Usage(2, 0), 0),
    ],
)
def test_a_budget_counts_what_was_sent_before(budget: Budget, turn: Usage, episode: Usage, left: int) -> None:
    message = Channel([budget]).send(("a", "b", "c"), ALPHABET, sent=Sent(turn=turn, episode=episode))
    assert message.symbols == ("a", "b", "c")[:left]


def test_prices_are_of_what_is_left() -> None:
    channel = Channel([Budget(symbols=1), Price(per_symbol=0.5, per_message=1.0)])
    assert channel.send(("a", "b", "c")).price == 1.5


def test_a_table_rewrites_word_by_word_and_a_function_the_whole() -> None:
    table = Channel([Rewrite(table={"a": "b", "b": "x"})])
    assert table.send(("a", "b", "c"), ALPHABET).symbols == ("b", "x", "c")
    assert set(table.words) == {"b", "x"}
    assert Channel([Rewrite(by="reverse")]).send(("a", "b", "c")).symbols == ("c", "b", "a")
    shuffles = [Channel([Rewrite(by="shuffle")]).send(("a", "b", "c"), seed=seed).symbols for seed in range(TRIALS)]
    assert len(set(shuffles)) == 6
    assert all(near(shuffles.count(order), TRIALS, 1 / 6) for order in set(shuffles))


def test_a_rewriter_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REWRITERS, "louder", lambda symbols, alphabet, seed: (*symbols, alphabet[-1]))
    assert Channel([Rewrite(by="louder")]).send(("a",), ALPHABET).symbols == ("a", "d")


def test_an_eavesdropper_hears_what_there_is_at_its_place() -> None:
    channel = Channel([Rewrite(table={"a": "b"}), Eavesdrop(seat="e_0", p=0.25), Loss(p=1.0)])
    message = channel.send(("a",), ALPHABET)
    assert channel.eavesdroppers("a_0", ("b_0",)) == ("e_0",)
    assert channel.eavesdroppers("a_0", ("b_0", "e_0")) == ()  # it hears anyway
    assert channel.eavesdroppers("e_0", ("b_0",)) == ()
    assert channel.carry(message, 1, "b_0")[0].symbols is None
    overheard = [channel.overhear(message, seed, "e_0") for seed in range(TRIALS)]
    assert near(sum(bool(deliveries) for deliveries in overheard), TRIALS, 0.25)
    assert all(deliveries[0].symbols == ("b",) for deliveries in overheard if deliveries)


@pytest.mark.parametrize(
    ("given_as", "said"),
    [
        ({"type": "budget"}, "a budget needs a limit"),
        ({"type": "budget", "messages": 1}, 'give per = "turn"'),
        ({"type": "rewrite"}, "either a table"),
        ({"type": "rewrite", "by": "shuffle", "table": {"a": "b"}}, "either a table"),
        ({"type": "rewrite", "by": "os.system"}, "there is no rewriter 'os.system'; there are shuffle, reverse"),
        ({"type": "rewrite", "table": {"a": "b c"}}, "one word for a word, not 'b c'"),
        ({"type": "jam", "windows": [[2, 1]]}, "from a start to a later stop, not from 2 to 1"),
        ({"type": "jam", "windows": []}, "windows"),
        ({"type": "reorder", "p": 0.5}, "seconds"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(given_as: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as error:
        EFFECT.validate_python(given_as)
    assert said in str(error.value)


def test_what_came_later_is_left_out_of_what_is_written() -> None:
    assert Budget(symbols=2).model_dump() == {"type": "budget", "symbols": 2}
    assert Budget(symbols=2, per="turn").model_dump() == {"type": "budget", "symbols": 2, "per": "turn"}
    for effect in (Budget(messages=1, per="turn"), Rewrite(table={"a": "b"}), Jam(windows=((1, 2),), unit="rounds")):
        assert EFFECT.validate_python(effect.model_dump()) == effect
        assert EFFECT.validate_json(effect.model_dump_json()) == effect
