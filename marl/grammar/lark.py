"""A reply's grammar as Lark text over token ids, in llguidance's dialect, for a remote sampler.

Tokens are written by their ids, `<[17]>`, so a sampler that follows this text may draw the same tokens at each step as
`marl/grammar/automaton.py` allows, with the same probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from marl.errors import UserError
from marl.grammar.automaton import OPENING, TALK, THOUGHT, Grammar

TokensOfClass = Callable[[str], Sequence[int]]
"""Name of a token class -> its token ids, ascending."""


def to_lark(grammar: Grammar, tokens_of: TokensOfClass, end: int) -> str:
    """Return the Lark text of a grammar; `end` is the token that ends a reply. Raises UserError for forms."""
    if grammar.form:
        raise UserError(
            "a vLLM server samples words and free text, not replies with a pattern or schema: leave vllm out"
        )
    rules = [f"end: {token_set([end])}"]
    parts = [_free(grammar, tokens_of, rules) if grammar.spec.free else _words(grammar, rules), "end"]
    if grammar.think:
        rules.append(f"thought: {token_set(tokens_of(THOUGHT))}")
        parts = [f"thought{{0,{grammar.think}}} {token_set([grammar.pause])}", *parts]
    return "\n".join([f"start: {' '.join(parts)}", *rules])


def token_set(tokens: Iterable[int]) -> str:
    """Return the Lark text for one token out of several ascending ids, as ranges: `<[3-5,9]>`."""
    spans: list[list[int]] = []
    for token in tokens:
        if spans and spans[-1][1] == token - 1:
            spans[-1][1] = token
        else:
            spans.append([token, token])
    return f"<[{','.join(f'{a}-{b}' if a < b else str(a) for a, b in spans)}]>"


def _words(grammar: Grammar, rules: list[str]) -> str:
    """Words in order; those after the first `least` are optional."""
    text = ""
    for index in reversed(range(len(grammar.spec.steps))):
        text = f"{_word(grammar, index, rules)} {text}".strip()
        if index >= grammar.spec.least:
            text = f"({text})?"
    return text


def _word(grammar: Grammar, index: int, rules: list[str]) -> str:
    spellings = dict.fromkeys(grammar.spell(word, index == 0) for word in grammar.spec.steps[index])
    options = [" ".join(token_set([token]) for token in spelling) for spelling in spellings]
    rules.append(f"word{index}: {' | '.join(options)}")
    return f"word{index}"


def _free(grammar: Grammar, tokens_of: TokensOfClass, rules: list[str]) -> str:
    """Free talk, after the name of a channel where there are several; nothing at all where silence is allowed."""
    silent = grammar.spec.least == 0
    rules.append(f"talk: {token_set(tokens_of(TALK))}")
    text = f"talk{{0,{grammar.talk}}}"
    if not silent:
        rules.append(f"opening: {token_set(tokens_of(OPENING))}")
        text = f"opening talk{{0,{grammar.talk - 1}}}"
    if len(grammar.spec.channels) > 1:
        text = f"{_word(grammar, 0, rules)} {text}"
        text = f"({text})?" if silent else text
    return text
