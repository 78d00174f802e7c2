"""Tools that agents may call before they reply; each is a member of the bus.

A scenario names its tools and who may call them:

    [scenario.tools.calculator]
    calls = 2        # of each agent asked, before each of its replies
    price = 0.01     # reward that a call costs
    timeout = 5.0    # real seconds

`type` (default: the tool's name) is a key of `TOOLS`. Register a tool of your own there:
`TOOLS["mine"] = lambda: Tool.of(function)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from inspect import signature
from typing import Any

from pydantic import ConfigDict, Field

from marl.tools.calculator import calculator
from marl.tools.lookup import lookup
from marl.tools.search import search
from marl.tools.tool import Tool, ToolError
from protocols.errors import ProtocolError
from protocols.settings import Settings


class ToolConfig(Settings):
    """Settings of a tool in a scenario. Every other key is an option of its type."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    type: str = Field(default="", description="which tool; default: the tool's name")
    seats: tuple[str, ...] = Field(default=(), description="seats that may call it; default: all")
    calls: int = Field(default=1, ge=1, description="the most calls of an agent before one reply")
    price: float = Field(default=0.0, ge=0, description="what a call costs, in reward")
    timeout: float = Field(default=10.0, gt=0, description="real seconds until a call fails")
    words: tuple[str, ...] = Field(default=(), description="what models from scratch may say to it; the arena's words")
    length: int = Field(default=4, ge=1, description="the most words they say")
    free: int = Field(default=400, ge=0, description="the most characters that others say")


def _calculator() -> Tool:
    return Tool.of(calculator, inline=True)


def _python(**options: Any) -> Tool:
    from marl.tools.python import python  # Linux only

    return python(**options)


def _mcp(**options: Any) -> Tool:
    from marl.tools.mcp import mcp  # needs the extra `tools`

    return mcp(**options)


TOOLS: dict[str, Callable[..., Tool]] = {
    "calculator": _calculator,
    "lookup": lookup,
    "mcp": _mcp,
    "python": _python,
    "search": search,
}
"""Type -> function that makes the tool from the options of its configuration."""


def make(name: str, config: ToolConfig) -> Tool:
    """Make a tool under its name in a scenario; raises ProtocolError for an unknown type or invalid options."""
    kind = config.type or name
    factory = TOOLS.get(kind)
    if factory is None:
        close = get_close_matches(kind, TOOLS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(TOOLS)}"
        raise ProtocolError(f"tool {name}: there is no type {kind!r}; {hint}")
    options: Mapping[str, Any] = config.model_extra or {}
    try:
        signature(factory).bind(**options)
        return factory(**options).named(name)
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"tool {name}: {error}") from None


__all__ = ["TOOLS", "Tool", "ToolConfig", "ToolError", "make"]
