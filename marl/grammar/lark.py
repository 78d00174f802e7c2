"""The grammar of a reply as text, for a server that samples elsewhere: Lark as llguidance reads it, over token ids.

Every token stands there by its number, `<[17]>`, so whoever samples by this text may draw the same tokens at each place
as `marl/grammar/automaton.py` allows, and gives them the same probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from marl.errors import UserError
from marl.grammar.automaton import OPENING, TALK, THOUGHT, Grammar

Class = Callable[[str], Sequence[int]]
"""Name of a class of tokens -> the tokens, in their order."""


def written(grammar: Grammar, of: Class, end: int) -> str:
    """Return the text of a grammar, with the token that ends a reply; raises UserError for one of a form."""
    if grammar.form:
        raise UserError("a vLLM server is asked for words and free text, not for replies of a form: leave vllm out")
    rules = [f"end: {ids([end])}"]
    parts = [_free(grammar, of, rules) if grammar.spec.free else _words(grammar, rules), "end"]
    if grammar.think:
        rules.append(f"thought: {ids(of(THOUGHT))}")
        parts = [f"thought{{0,{grammar.think}}} {ids([grammar.pause])}", *parts]
    return "\n".join([f"start: {' '.join(parts)}", *rules])


def ids(tokens: Iterable[int]) -> str:
    """Return one token out of several, which are given in their order."""
    spans: list[list[int]] = []
    for token in tokens:
        if spans and spans[-1][1] == token - 1:
            spans[-1][1] = token
        else:
            spans.append([token, token])
    return f"<[{','.join(f'{a}-{b}' if a < b else str(a) for a, b in spans)}]>"


def _words(grammar: Grammar, rules: list[str]) -> str:
    """Words of which the last may be left out; the first `least` are there."""
    text = ""
    for place in reversed(range(len(grammar.spec.steps))):
        text = f"{_word(grammar, place, rules)} {text}".strip()
        if place >= grammar.spec.least:
            text = f"({text})?"
    return text


def _word(grammar: Grammar, place: int, rules: list[str]) -> str:
    spelled = dict.fromkeys(grammar.spell(word, place == 0) for word in grammar.spec.steps[place])
    rules.append(f"word{place}: {' | '.join(' '.join(ids([token]) for token in each) for each in spelled)}")
    return f"word{place}"


def _free(grammar: Grammar, of: Class, rules: list[str]) -> str:
    """Talk, behind the name of a channel where there are several; nothing at all where that is allowed."""
    silent = grammar.spec.least == 0
    rules.append(f"talk: {ids(of(TALK))}")
    text = f"talk{{0,{grammar.talk}}}"
    if not silent:
        rules.append(f"opening: {ids(of(OPENING))}")
        text = f"opening talk{{0,{grammar.talk - 1}}}"
    if len(grammar.spec.channels) > 1:
        text = f"{_word(grammar, 0, rules)} {text}"
        text = f"({text})?" if silent else text
    return text
