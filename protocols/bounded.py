"""Bounded JSON: parse what others wrote without running out of memory or stack."""

from __future__ import annotations

import json
from typing import Any, Final

MAX_VALUES: Final = 1 << 20
"""Values of one JSON text, about: each takes some fifty bytes of memory, however short it is written."""
MAX_DEPTH: Final = 64
"""Nested lists and tables."""


def parse_json(raw: bytes, most: int, *, values: int = MAX_VALUES) -> Any:
    """Parse JSON of at most `most` bytes, with or without a byte order mark; raises ValueError in a few words.

    Nested deeper than MAX_DEPTH, more than about `values` values, and text that UTF-8 cannot hold (half of a surrogate
    pair) are errors too.
    """
    if len(raw) > most:
        raise ValueError(f"more than {most} bytes")
    if len(raw) > values and sum(map(raw.count, (b",", b"[", b"{"))) > values:
        raise ValueError(f"more than {values} values")
    try:
        value = json.loads(raw.removeprefix(b"\xef\xbb\xbf").decode())
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at character {error.pos}") from None
    except ValueError:  # the limit of int()
        raise ValueError("a number with too many digits") from None
    if min(raw.count(b"["), raw.count(b"]")) + min(raw.count(b"{"), raw.count(b"}")) > MAX_DEPTH and (
        depth(value, MAX_DEPTH) > MAX_DEPTH
    ):
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    if b"\\ud" in raw or b"\\uD" in raw:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("half of a surrogate pair, which is no text") from None
    return value


def depth(value: Any, most: int) -> int:
    """Return how deep lists and tables of a value are nested, `most + 1` for anything deeper; needs no stack."""
    level, below = 0, [value]
    while level <= most:
        nested = [item for item in below if isinstance(item, list | dict) and item]
        if not nested:
            return level + any(isinstance(item, list | dict) for item in below)
        below = [inner for item in nested for inner in (item.values() if isinstance(item, dict) else item)]
        level += 1
    return most + 1
