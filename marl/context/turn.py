"""Lines of a user turn: messages and views, written so that no content can begin a message or a view of its own.

b_0: the first line            a message: who said it, and on which channel if it is not the public one
  the second line              what follows a line break inside of a message is indented
round t1 gold 3                a line of a view
| b_0: i accept                a line of a view that would read as a message is marked
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

INDENT: Final = "  "
QUOTE: Final = "| "
_BREAK: Final = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_MESSAGE: Final = re.compile(r"(\S+?)(?: \((\S+?)\))?: ")


class Line(NamedTuple):
    """A message, or what a view shows: then without a sender."""

    sender: str
    channel: str
    body: str


def message(sender: str, channel: str, body: str) -> str:
    """Write a message; `channel` is empty for the public one."""
    where = f" ({channel})" if channel else ""
    return f"{sender}{where}: {_BREAK.sub(lambda found: found[0] + INDENT, body)}"


def view(body: str) -> str:
    """Write what a view shows. Only lines that would read as part of a message change."""
    parts, start = [], 0
    for found in (*_BREAK.finditer(body), None):
        line = body[start : found.start() if found else len(body)]
        inside = _MESSAGE.match(line) or line.startswith(QUOTE) or (not start and line.startswith(INDENT))
        parts.append(f"{QUOTE if inside else ''}{line}{found[0] if found else ''}")
        start = found.end() if found else 0
    return "".join(parts)


def parse(text: str) -> list[Line]:
    """Return the messages and views of a turn; views in a row are one."""
    lines: list[Line] = []
    start, lead = 0, ""
    for found in (*_BREAK.finditer(text), None):
        line = text[start : found.start() if found else len(text)]
        before = lines[-1] if lines else None
        said = _MESSAGE.match(line)
        if before and before.sender and line.startswith(INDENT):
            lines[-1] = before._replace(body=before.body + lead + line[len(INDENT) :])
        elif said:
            lines.append(Line(said[1], said[2] or "", line[said.end() :]))
        elif before and not before.sender:
            lines[-1] = before._replace(body=before.body + lead + line.removeprefix(QUOTE))
        else:
            lines.append(Line("", "", line.removeprefix(QUOTE)))
        lead = found[0] if found else ""
        start = found.end() if found else 0
    return lines
