"""Tool of an MCP server (Model Context Protocol) that runs as a child process and talks over stdin and stdout.

The server provides schema and description. Its client runs on the real-time loop, restarts a dead server at the next
call, and returns every failure as an error text.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Final

from marl.tools.tool import Tool, ToolError
from protocols.realtime import real_loop

START: Final = 20.0
"""Real seconds until a server must be ready."""


class McpServer:
    """Connection to an MCP server. Call its coroutines on the real-time loop."""

    def __init__(self, command: Sequence[str]) -> None:
        self.command = list(command)
        self._task: asyncio.Task[None] | None = None
        self._client: asyncio.Future[Any] | None = None

    async def client(self) -> Any:
        """Return the connected client; raises ToolError where the server does not start."""
        if self._task is None or self._task.done():
            self._client = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._keep(self._client))
        assert self._client is not None
        try:
            return await asyncio.wait_for(asyncio.shield(self._client), START)
        except TimeoutError:
            self._task.cancel()
            raise ToolError(f"the MCP server {self.command[0]!r} was not up within {START:g} s") from None

    async def _keep(self, connected: asyncio.Future[Any]) -> None:
        """Open the connection and hold it in the same task until it is lost."""
        from mcp import StdioServerParameters
        from mcp.client import Client

        try:
            async with Client(StdioServerParameters(command=self.command[0], args=self.command[1:])) as client:
                connected.set_result(client)
                await asyncio.get_running_loop().create_future()
        except Exception as error:
            if not connected.done():
                reason = str(error) or type(error).__name__
                connected.set_exception(ToolError(f"the MCP server {self.command[0]!r} does not start: {reason}"))

    async def call(self, tool: str, arguments: dict[str, Any]) -> str:
        """Call one of the server's tools; raises ToolError for what the server reports as an error."""
        client = await self.client()
        try:
            result = await client.call_tool(tool, arguments)
        except Exception:
            assert self._task is not None
            self._task.cancel()  # restart the server at the next call
            raise
        text = "\n".join(getattr(part, "text", f"({part.type})") for part in result.content)
        if result.is_error:
            raise ToolError(text)
        return text


def mcp(command: Sequence[str], tool: str = "") -> Tool:
    """Return a tool of the MCP server that a command starts: `tool`, or the only one.

    Raises ValueError where the server does not start, or has no such tool.
    """
    if not command or isinstance(command, str):
        raise ValueError('command is a list of words, such as ["npx", "server"]')
    try:
        import mcp as _  # noqa: F401
    except ModuleNotFoundError:
        raise ValueError("MCP needs the package mcp: pip install 'sabir[tools]'") from None
    server = McpServer(command)

    async def list_tools() -> list[Any]:
        return list((await (await server.client()).list_tools()).tools)

    try:
        tools = asyncio.run_coroutine_threadsafe(list_tools(), real_loop()).result(2 * START)
    except Exception as error:
        raise ValueError(str(error) or f"the MCP server {command[0]!r} does not answer") from None
    names = [offered.name for offered in tools]
    if (tool or len(names) != 1) and tool not in names:
        raise ValueError(f"the MCP server has no tool {tool!r}: tool is one of {', '.join(names)}")
    chosen = next(offered for offered in tools if offered.name == (tool or names[0]))
    schema = dict(chosen.input_schema)

    async def call(**arguments: Any) -> str:
        return await server.call(chosen.name, arguments)

    def check(arguments: dict[str, Any]) -> dict[str, Any]:
        return {name: _typed(value, schema.get("properties", {}).get(name, {})) for name, value in arguments.items()}

    return Tool(chosen.name, (chosen.description or "").strip().partition("\n\n")[0], schema, call, check)


def _typed(value: Any, schema: Any) -> Any:
    """Parse a word as JSON where the schema wants no string; the server rejects what is not JSON."""
    wanted = schema.get("type") if isinstance(schema, dict) else None
    if not isinstance(value, str) or wanted in (None, "string"):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
