"""Token masks for replies with a regular expression or a JSON schema, by llguidance.

What a model samples keeps to letters, digits and punctuation with single spaces between them, which Python's regular
expressions and those of llguidance understand alike, and to the characters that the spec allows: every reply has an
end, and is legal.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from functools import cached_property
from typing import Any, Final

import numpy as np

from arenas import form
from arenas.spec import ReplySpec
from marl.errors import UserError
from marl.grammar.automaton import Options

PLAIN: Final = r"[!-~[\p{age:13.0}&&[\p{L}\p{Nd}\p{P}--\p{Pc}]]]"  # Python 3.11 knows all letters of Unicode 13
LINE: Final = f"({PLAIN}( ?{PLAIN})*)?"
MAX_CACHED_PREFIXES: Final = 1 << 10
"""Prefixes of replies that are cached for each form."""


class Forms:
    """The automata of a tokenizer's formed replies.

    Args:
        tokenizer: of Hugging Face's fast kind.
        end: the token that ends a reply.
        size: of the vocabulary, as the model has it.
        source: the model's name, for complaints.
    """

    def __init__(self, tokenizer: Any, end: int, size: int, source: str) -> None:
        self.tokenizer, self.end, self.size, self.source = tokenizer, end, size, source

    def of(self, spec: ReplySpec) -> Form:
        """Return the automaton of a spec; raises UserError for one that cannot be."""
        tokens = self._tokens
        from llguidance import LLMatcher

        matcher = LLMatcher(tokens, grammar(spec), log_level=0)
        if not matcher.is_error():
            matcher.compute_bitmask()
        if matcher.is_error():
            what = f"the pattern {spec.pattern!r}" if spec.pattern else f"the schema {spec.schema}"
            raise UserError(f"{self.source} cannot reply in the form of {what}: {_reason(matcher.get_error())}")
        return Form(matcher, self, spec)

    @cached_property
    def _tokens(self) -> Any:
        try:
            from llguidance.hf import from_tokenizer
        except ImportError:
            raise UserError(
                "a reply with a pattern or a schema needs llguidance where a pretrained model gives it: "
                "pip install 'sabir[hf]'"
            ) from None
        try:
            return from_tokenizer(self.tokenizer, n_vocab=self.size, eos_token=self.end)
        except ValueError as error:
            raise UserError(
                f"{self.source}: its tokenizer cannot write formed replies: {_reason(str(error))}"
            ) from None


class Form:
    """The automaton of one spec. A state is the tokens of the reply so far."""

    def __init__(self, matcher: Any, forms: Forms, spec: ReplySpec) -> None:
        self._forms, self._silent = forms, spec.least == 0
        self._start = matcher
        self._known: OrderedDict[tuple[int, ...], tuple[Any, Options]] = OrderedDict()

    def __call__(self, drawn: tuple[int, ...]) -> Options:
        """Return which tokens may come next. After tokens that were not allowed only the end may."""
        return self._at(drawn)[1]

    def _at(self, drawn: tuple[int, ...]) -> tuple[Any, Options]:
        entry = self._known.get(drawn)
        if entry is None:
            length = next((n for n in range(len(drawn) - 1, -1, -1) if drawn[:n] in self._known), 0)
            matcher = (self._known[drawn[:length]][0] if drawn[:length] in self._known else self._start).deep_copy()
            matcher.consume_tokens(list(drawn[length:]))
            entry = self._known[drawn] = matcher, self._options(matcher, drawn)
            if len(self._known) > MAX_CACHED_PREFIXES:
                self._known.popitem(last=False)
        return entry

    def _options(self, matcher: Any, drawn: tuple[int, ...]) -> Options:
        if matcher.is_error():
            return Options(end=True)
        forms = self._forms
        bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")[: forms.size]
        end = bool(bits[forms.end]) if drawn else self._silent  # nothing at all is a reply only where silence is
        bits[forms.end] = 0
        if not bits.any() and not end:
            raise UserError(f"{forms.source}: its tokenizer cannot spell a reply of the form that is asked for")
        return Options(end=end, bits=np.packbits(bits, bitorder="little").tobytes() if bits.any() else b"")


def grammar(spec: ReplySpec) -> str:
    """Return the llguidance grammar of a spec with a pattern or schema."""
    from llguidance import LLMatcher

    if spec.schema:
        narrow = _spelled(form.shape(spec.schema).narrow)
        return str(LLMatcher.grammar_from_json_schema(json.dumps(narrow), overrides={"whitespace_flexible": False}))
    pattern = re.sub(r"(\\.)|/", lambda found: found[1] or r"\/", spec.pattern)
    return f"start: REPLY\nREPLY: /{pattern}/ & /{LINE}/ & /(?s:.){{0,{spec.free}}}/"


def _spelled(node: dict[str, Any]) -> dict[str, Any]:
    """Return a narrow schema whose strings are plain lines."""
    if "anyOf" in node:
        return {"anyOf": [_spelled(child) for child in node["anyOf"]]}
    match node.get("type"):
        case "string":
            return node | {"pattern": f"^{LINE}$"}
        case "array":
            return node | {"items": _spelled(node["items"])}
        case "object":
            return node | {"properties": {name: _spelled(child) for name, child in node["properties"].items()}}
    return node


def _reason(error: str) -> str:
    """Return the gist of a long error message, in one line."""
    if "NoExtension" in error:
        return "nothing in letters, digits, punctuation and single spaces has it"
    lines = [line.strip() for line in error.splitlines() if line.strip()] or ["no reason is given"]
    return next((line for line in lines if line.startswith("error: ")), lines[0]).removeprefix("error: ")
