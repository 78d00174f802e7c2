from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from protocols.channel import Channel
from protocols.effects import Budget, Delay, Effect, EffectConfig, Loss, Noise, Price
from protocols.effects.message import Delivery, Message

EFFECTS: TypeAdapter[list[Any]] = TypeAdapter(list[EffectConfig])
ALPHABET = ("a", "b", "c", "d")
SYMBOLS = st.lists(st.sampled_from(ALPHABET), max_size=12).map(tuple)
SEEDS = st.integers(0, 2**64 - 1)
PROBABILITY = st.floats(0, 1)
SMALL = st.floats(0, 10)
ANY_EFFECT = st.one_of(
    st.builds(Budget, symbols=st.integers(0, 15)),
    st.builds(Price, per_symbol=SMALL, per_message=SMALL),
    st.builds(Loss, p=PROBABILITY),
    st.builds(Noise, p=PROBABILITY),
    st.builds(Delay, seconds=SMALL, jitter=SMALL),
)
TRIALS = 5000


def rate(hits: int, trials: int, p: float) -> bool:
    """Whether a rate lies within 5 standard deviations of p; seeds are fixed, so it holds for ever or never."""
    return abs(hits / trials - p) < 5 * math.sqrt(p * (1 - p) / trials)


@given(SYMBOLS, SEEDS)
def test_a_perfect_channel_changes_nothing(symbols: tuple[str, ...], seed: int) -> None:
    channel = Channel()
    message = channel.send(symbols, ALPHABET)
    assert message == Message(symbols, ALPHABET, 0.0)
    assert channel.carry(message, seed, "b_0")[0] == Delivery(symbols, 0.0)


@given(SYMBOLS, SEEDS)
def test_the_base_effect_is_an_identity(symbols: tuple[str, ...], seed: int) -> None:
    assert (
        Channel([Effect()]).carry(Message(symbols), seed, "b_0")[0] == Channel().carry(Message(symbols), seed, "b_0")[0]
    )


@given(SYMBOLS, st.lists(ANY_EFFECT, max_size=4), st.integers(0, 8), SEEDS)
def test_a_budget_is_never_exceeded(symbols: tuple[str, ...], effects: list[Effect], limit: int, seed: int) -> None:
    for place in range(len(effects) + 1):
        channel = Channel([*effects[:place], Budget(symbols=limit), *effects[place:]])
        message = channel.send(symbols, ALPHABET)
        delivery = channel.carry(message, seed, "b_0")[0]
        assert len(message.symbols) <= limit
        assert message.symbols == symbols[: len(message.symbols)]
        assert delivery.symbols is None or len(delivery.symbols) == len(message.symbols)


@given(SYMBOLS, st.lists(ANY_EFFECT, max_size=4), SEEDS)
def test_the_same_seed_gives_the_same_result(symbols: tuple[str, ...], effects: list[Effect], seed: int) -> None:
    first, second = (
        channel.carry(channel.send(symbols, ALPHABET), seed, "b_0")[0]
        for channel in (Channel(effects), Channel(effects))
    )
    assert first == second
    assert first.delay >= 0


def test_listeners_seeds_and_places_draw_apart() -> None:
    channel = Channel([Loss(p=0.5)])
    message = channel.send(("a",), ALPHABET)

    def lost(listener: str) -> list[bool]:
        return [channel.carry(message, seed, listener)[0].symbols is None for seed in range(TRIALS)]

    one, other = lost("b_0"), lost("b_1")
    assert rate(sum(a == b for a, b in zip(one, other, strict=True)), TRIALS, 0.5)
    twice = Channel([Loss(p=0.5), Loss(p=0.5)])
    assert rate(sum(twice.carry(message, seed, "b_0")[0].symbols is None for seed in range(TRIALS)), TRIALS, 0.75)


@pytest.mark.parametrize("p", [0.0, 0.05, 0.3, 0.9, 1.0])
def test_loss_rate(p: float) -> None:
    channel = Channel([Loss(p=p)])
    message = channel.send(("a", "b"), ALPHABET)
    lost = sum(channel.carry(message, seed, "b_0")[0].symbols is None for seed in range(TRIALS))
    assert rate(lost, TRIALS, p) or lost == p * TRIALS


@pytest.mark.parametrize("p", [0.0, 0.05, 0.3, 0.9, 1.0])
def test_noise_rate_and_symmetry(p: float) -> None:
    channel = Channel([Noise(p=p)])
    message = channel.send(("a", "b"), ALPHABET)
    heard = [channel.carry(message, seed, "b_0")[0].symbols or () for seed in range(TRIALS)]
    for place, sent in enumerate(message.symbols):
        changed = [symbols[place] for symbols in heard if symbols[place] != sent]
        assert rate(len(changed), TRIALS, p) or len(changed) == p * TRIALS
        if p >= 0.3:  # each of the other three symbols is as likely
            assert all(rate(changed.count(other), len(changed), 1 / 3) for other in ALPHABET if other != sent)
    if 0 < p < 1:  # the places of a message are disturbed independently
        both = sum(symbols[0] != "a" and symbols[1] != "b" for symbols in heard)
        assert rate(both, TRIALS, p * p)


@given(SYMBOLS, SEEDS)
def test_noise_changes_to_another_symbol(symbols: tuple[str, ...], seed: int) -> None:
    channel = Channel([Noise(p=1.0)])
    heard = channel.carry(channel.send(symbols, ALPHABET), seed, "b_0")[0].symbols
    assert heard is not None
    assert all(a != b and b in ALPHABET for a, b in zip(symbols, heard, strict=True))


@pytest.mark.parametrize("alphabet", [(), ("a",), ("a", "a")])
def test_noise_needs_an_alphabet_to_choose_from(alphabet: tuple[str, ...]) -> None:
    channel = Channel([Noise(p=1.0)])
    assert channel.carry(channel.send(("a", "a"), alphabet), 7, "b_0")[0].symbols == ("a", "a")


@given(SEEDS, SMALL, SMALL)
def test_delays_add_up_within_their_jitter(seed: int, seconds: float, jitter: float) -> None:
    channel = Channel([Delay(seconds=seconds, jitter=jitter), Noise(p=0.5), Delay(seconds=1.0)])
    delivery = channel.carry(channel.send(("a",), ALPHABET), seed, "b_0")[0]
    assert seconds + 1.0 <= delivery.delay <= seconds + jitter + 1.0 + 1e-9


def test_jitter_fills_its_range() -> None:
    channel = Channel([Delay(seconds=1.0, jitter=2.0)])
    delays = [channel.carry(channel.send(("a",)), seed, "b_0")[0].delay for seed in range(TRIALS)]
    assert 1.0 <= min(delays) < 1.01
    assert 2.99 < max(delays) <= 3.0
    assert abs(sum(delays) / TRIALS - 2.0) < 5 * 2.0 / math.sqrt(12 * TRIALS)


def test_prices_add() -> None:
    channel = Channel([Price(per_symbol=0.5), Price(per_symbol=0.25, per_message=2.0)])
    assert channel.send(("a", "b")).price == 2 * 0.75 + 2.0
    assert channel.send(()).price == 0.0  # silence is free


def test_effects_act_in_their_order() -> None:
    symbols = ("a", "b", "c")
    assert Channel([Budget(symbols=1), Price(per_symbol=1.0)]).send(symbols).price == 1.0
    assert Channel([Price(per_symbol=1.0), Budget(symbols=1)]).send(symbols).price == 3.0
    message = Message(symbols)
    assert Channel([Delay(seconds=1.0), Loss(p=1.0)]).carry(message, 7, "b_0") == [Delivery(None, 1.0)]
    assert Channel([Loss(p=1.0), Delay(seconds=1.0)]).carry(message, 7, "b_0") == [Delivery(None, 0.0)]


def test_effects_parse_from_dicts() -> None:
    given_as: list[dict[str, Any]] = [
        {"type": "budget", "symbols": 2},
        {"type": "price", "per_symbol": 0.1},
        {"type": "loss", "p": 0.1},
        {"type": "noise", "p": 0.2},
        {"type": "delay", "seconds": 1.0, "jitter": 0.5},
    ]
    effects = EFFECTS.validate_python(given_as)
    assert [type(effect) for effect in effects] == [Budget, Price, Loss, Noise, Delay]
    assert EFFECTS.dump_python(effects)[1]["per_message"] == 0.0
    assert EFFECTS.validate_json(EFFECTS.dump_json(effects)) == effects


@pytest.mark.parametrize(
    ("effect", "named"),
    [
        ({"type": "budget", "symbolz": 2}, "symbolz"),
        ({"type": "budget", "symbols": -1}, "0.budget.symbols"),
        ({"type": "loss", "p": 1.5}, "0.loss.p"),
        ({"type": "noise"}, "0.noise.p"),
        ({"type": "delay", "seconds": math.inf}, "0.delay.seconds"),
        ({"type": "fog", "p": 0.5}, "fog"),
        ({"p": 0.5}, "type"),
    ],
)
def test_a_wrong_key_is_named(effect: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError) as caught:
        EFFECTS.validate_python([effect])
    assert named in str(caught.value)
