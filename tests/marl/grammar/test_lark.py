"""A grammar written as text allows the same tokens, read by llguidance, as the automaton that it was written from."""

from __future__ import annotations

import random

import numpy as np
import pytest
from numpy.typing import NDArray

from arenas.spec import ReplySpec, choose, fill, matching, say
from marl.errors import UserError
from marl.grammar.lark import to_lark, token_set
from tests.marl import chats

pytest.importorskip("llguidance")
SPECS = (
    choose(("yes", "no", "nobody")),
    say(("red", "reddish", "blue", "1", "10"), 3, 1),
    say(("red", "reddish"), 2, 0),
    fill(("0", "1", "2"), ("give", "want")),
    say(("red", "blue"), 2, 0, free=60),
    say(("red", "blue"), 2, 1, free=60),
    say(("red", "blue"), 2, 0, ("public", "side"), free=60),
    say(("red", "blue"), 2, 1, ("public", "side"), free=60),
)


@pytest.mark.parametrize("think", [0, 3])
@pytest.mark.parametrize("spec", SPECS)
def test_the_text_allows_what_the_automaton_allows(spec: ReplySpec, think: int) -> None:
    from llguidance import LLMatcher
    from llguidance.hf import from_tokenizer

    lm = chats.chat(talk=4, think=think)
    width = lm.masks.shape[1]
    grammar = lm.automaton(spec)
    text = to_lark(grammar, lambda kind: lm.of_class(kind).nonzero()[:, 0].tolist(), lm.eos)
    tokens = from_tokenizer(lm.tokenizer, n_vocab=width, eos_token=lm.eos)

    def allowed(matcher: LLMatcher) -> NDArray[np.intp]:
        bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")
        return np.flatnonzero(bits[:width])

    for seed in range(20):
        matcher, state, rng = LLMatcher(tokens, text), grammar.start, random.Random(seed)
        for _ in range(grammar.longest):
            ours = lm.masks[lm.row(grammar, state)].nonzero()[:, 0].tolist()
            assert allowed(matcher).tolist() == ours, matcher.get_error()
            token = rng.choice(ours)
            assert matcher.consume_tokens([token])
            if token == lm.eos:
                break
            state = grammar.step(state, token)
        assert matcher.is_stopped(), "the longest reply has its end"


def test_tokens_in_a_row_are_one_span() -> None:
    assert token_set([3, 4, 5, 7, 9, 10]) == "<[3-5,7,9-10]>"


def test_replies_of_a_form_are_refused() -> None:
    lm = chats.chat()
    spec = matching("[1-9] coins", ("1",), ("coins",), free=20)
    with pytest.raises(UserError, match="not replies with a pattern or schema"):
        to_lark(lm.automaton(spec), lambda kind: (), lm.eos)
