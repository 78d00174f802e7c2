"""Lookup tool: a table of texts by key."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from marl.tools.tool import Tool, ToolError


def lookup(entries: Mapping[str, str]) -> Tool:
    """Return a tool that looks up the text of a key. Keys match without regard to case and outer spaces."""
    table = {str(key).strip().casefold(): str(text) for key, text in dict(entries).items()}

    def lookup(key: str) -> str:
        """Look up what stands under a key.

        Args:
            key: one of the keys
        """
        wanted = key.strip().casefold()
        if wanted not in table:
            close = get_close_matches(wanted, table, n=3)
            raise ToolError(f"nothing stands under {key!r}" + (f"; near it: {', '.join(close)}" if close else ""))
        return table[wanted]

    return Tool.of(lookup, inline=True)
