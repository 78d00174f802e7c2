"""Cells of foreign message files: words, lists as pandas, numpy and torch print them, numbers, and flags.

Every function takes `where` (file and line) and `column` for the sentence of its UserError.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from math import isfinite
from typing import Any, Final

from marl.errors import UserError

TRUE: Final = ("1", "true", "t", "yes", "y", "on", "test", "eval", "dev", "val", "valid", "validation", "held_out")
FALSE: Final = ("0", "false", "f", "no", "n", "off", "train", "training")
MISSING: Final = ("", "nan", "none", "null", "na", "n/a", "<na>")
DEEPEST: Final = 8
"""Brackets inside each other in a list that is text."""
PLACES: Final = 2**31
"""Largest number of earlier messages, and one more."""

_WHOLE = re.compile(r"([+-]?\d+)\.0+")
_TOKEN = re.compile(
    r"""\s*(?:(?P<call>[A-Za-z_][\w.]*)\(|(?P<open>[\[(])|(?P<close>[\])])|(?P<comma>,)
    |(?P<quoted>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?P<bare>[^\s,\[\]()'"]+))""",
    re.VERBOSE | re.DOTALL,
)
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_STARTS = re.compile(r"\s*(?:[A-Za-z_][\w.]*\s*)?[\[(]")
_SPACES = re.compile(r"[ \t\r\n\v\f]+")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_CALLS = re.compile(r"(?:np|numpy|torch)\.\w+|array|tensor|list|tuple")

Nested = list[Any]
"""Words, and lists of them."""


def shown(value: Any) -> str:
    """Return a value for a sentence: in ASCII, and not too long."""
    text = json.dumps(value, default=repr)
    return text if len(text) <= 80 else f"{text[:77]}..."


def text(value: Any, where: str, column: str) -> str:
    """Return a value as text: a whole number without a fraction, None as ''."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value != value:
        raise UserError(f"{where}: {column} is {shown(value)}, not a word or a list of words")
    if isinstance(value, float):
        if not isfinite(value):
            raise UserError(f"{where}: {column} is a number beyond the largest: write it as text, in quotes")
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else str(value)
    if isinstance(value, int):
        return str(value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise UserError(
                f"{where}: {column} has half of a surrogate pair in it, {shown(value)}: write whole characters"
            ) from None
    return _canonical(value)


def _canonical(word: str) -> str:
    """Return 1 for 1.0, so that one value has one name; other text as it is."""
    if (whole := _WHOLE.fullmatch(word)) is None:
        return word
    return whole[1].removeprefix("+") if whole[1].strip("+-0") else "0"


class WordColumn:
    """A column of words: how its cells are to be split is decided from all of them.

    A cell is a list, or text. Text in brackets is a list where its items are numbers or in quotes, or where all cells
    of the column are in brackets. Text whose words have commas between them in all cells is split at the commas; else
    at white space.
    """

    def __init__(self, column: str, cells: Iterable[Any]) -> None:
        self.column = column
        texts = [cell for cell in cells if isinstance(cell, str) and cell.strip()]
        self._bracketed = bool(texts) and all(_STARTS.match(cell) and _parsed(cell) for cell in texts)
        self.commas = not self._bracketed and any("," in cell for cell in texts) and all(map(_has_commas, texts))
        """Whether words are separated by commas."""

    def words(self, value: Any, where: str) -> tuple[str, ...]:
        """Return the words of a cell; raises UserError."""
        items = value if isinstance(value, list | tuple) else self._listed(value)
        if items is not None:
            return tuple(self._word(item, where) for item in self._flat(items, where))
        cell = text(value, where, self.column)
        words = [part.strip() for part in cell.split(",")] if self.commas else _SPACES.split(cell)
        return tuple(self._word(word, where) for word in words if word)

    def _listed(self, value: Any) -> Nested | None:
        """Return the items of text that is a list; None for other text."""
        if not isinstance(value, str) or not _STARTS.match(value) or (parsed := _parsed(value)) is None:
            return None
        items, literal = parsed
        return items if literal or self._bracketed else None

    def _flat(self, items: Nested | tuple[Any, ...], where: str) -> Nested:
        """Return the items of a list; lists of one item, inside or around it, are opened."""
        while len(items) == 1 and isinstance(items[0], list | tuple):
            items = items[0]
        opened = [item[0] if isinstance(item, list | tuple) and len(item) == 1 else item for item in items]
        if any(isinstance(item, list | tuple) for item in opened):
            raise UserError(
                f"{where}: {self.column} is a list of lists, {shown(items)}, not a word or a list of words: "
                "write one list, of one-hot vectors the places of their ones"
            )
        return opened

    def _word(self, item: Any, where: str) -> str:
        word = text(item, where, self.column)
        if word == "..." and isinstance(item, str):
            raise UserError(
                f"{where}: {self.column} has '...' in it, where numpy cut a long list: write the whole list"
            )
        if word.split() != [word]:
            raise UserError(
                f"{where}: a word of {self.column} is empty or has a space in it, {shown(word)}: "
                "write New_York for New York"
            )
        return word


def _has_commas(cell: str) -> bool:
    """Whether there is a comma between any two words of a cell."""
    return all(len(part.split()) == 1 for part in cell.strip().rstrip(",").split(","))


def _parsed(cell: str) -> tuple[Nested, bool] | None:
    """Parse a list that is text; returns its items, and whether all are numbers or in quotes. None for other text."""
    tokens = _tokens(cell.strip())
    try:
        items, literal = _value(next(tokens), tokens, 0)
        rest = next(tokens, None)
    except (StopIteration, ValueError):
        return None
    return (items, literal) if rest is None and isinstance(items, list) else None


def _tokens(cell: str) -> Iterator[tuple[str, str]]:
    """Yield kind and text of each token; raises ValueError at what is none."""
    at = 0
    while at < len(cell):
        match = _TOKEN.match(cell, at)
        if match is None:
            raise ValueError
        at = match.end()
        assert match.lastgroup is not None
        yield match.lastgroup, match[match.lastgroup]


def _value(token: tuple[str, str], tokens: Iterator[tuple[str, str]], depth: int) -> tuple[Any, bool]:
    """Return a value, and whether all in it are numbers or in quotes; raises ValueError, StopIteration."""
    kind, raw = token
    if kind == "quoted":
        return _ESCAPE.sub(_unescaped, raw[1:-1]), True
    if kind == "bare":
        number = _NUMBER.fullmatch(raw) is not None
        return (_canonical(f"{raw}0") if number and raw.endswith(".") else raw), number or raw == "..."
    if kind not in ("open", "call") or depth > DEEPEST or (kind == "call" and not _CALLS.fullmatch(raw)):
        raise ValueError
    items, literal = [], True
    closing = "]" if raw == "[" else ")"
    while True:
        kind_, raw_ = token = next(tokens)
        if kind_ == "close":
            if raw_ != closing:
                raise ValueError
            break
        if kind_ == "comma":
            continue
        if kind == "call" and kind_ == "bare" and "=" in raw_:  # array([0, 1], dtype=int8)
            if raw_.endswith("="):
                _value(next(tokens), tokens, depth + 1)
            continue
        item, sure = _value(token, tokens, depth + 1)
        items.append(item)
        literal = literal and sure
    if kind == "call":  # np.int64(3), np.str_('x0'), array([0, 1]), tensor([0, 1])
        if len(items) != 1:
            raise ValueError
        return items[0], literal
    return items, literal


def _unescaped(match: re.Match[str]) -> str:
    """Return the character of an escape as Python writes it; raises ValueError beyond Unicode."""
    escape = match[1]
    if len(escape) > 1:
        return chr(int(escape[1:], 16))
    return {"n": "\n", "t": "\t", "r": "\r"}.get(escape, escape)


def number(value: Any, where: str, column: str) -> float | None:
    """Return a number; None where there is none, or it is not finite."""
    if value is None or (isinstance(value, str) and value.strip().lower() in ("", "none", "null", "na", "n/a", "<na>")):
        return None
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return float(value.strip().lower() == "true")
    try:
        result = float(value)
    except (TypeError, ValueError):
        raise UserError(f"{where}: {column} is {_quoted(value)}, not a number") from None
    except OverflowError:
        raise UserError(f"{where}: {column} is a number beyond the largest, 1.8e308: write a smaller one") from None
    return result if isfinite(result) else None


def _quoted(value: Any) -> str:
    """Return a value with Python's quotes, in ASCII, and not too long."""
    quoted = ascii(value)
    return quoted if len(quoted) <= 80 else f"{quoted[:77]}..."


def place(value: Any, where: str, column: str = "place") -> int:
    """Return a number of earlier messages: whole, and not negative; 0 where there is none."""
    count = number(value, where, column)
    if count is None and (isinstance(value, float | str) and str(value).strip().lower().lstrip("+-")[:3] == "inf"):
        count = -1.0
    if count is not None and (count < 0 or count >= PLACES or not count.is_integer()):
        raise UserError(f"{where}: {column} is {_quoted(value)}, not a whole number from 0 such as 2")
    return int(count or 0)


def flag(value: Any, where: str, column: str) -> bool:
    """Return a flag, written as a truth value, a number, or a word; missing is false."""
    if value is None or value != value:
        return False
    word = _canonical(text(int(value) if isinstance(value, bool) else value, where, column).strip().lower())
    if word in TRUE:
        return True
    if word in FALSE or word in MISSING:
        return False
    raise UserError(f"{where}: {column} is {_quoted(value)}, neither true nor false: write 1 or 0")
