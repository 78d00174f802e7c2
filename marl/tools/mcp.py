"""Tool of an MCP server (Model Context Protocol): a child process over stdin and stdout, or an address over HTTP.

The server provides schema and description. Its client runs on the real-time loop, restarts a dead server at the next
call, and returns every failure as an error text. An error that the server answers leaves it running.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

from marl.http_client import split_address
from marl.tools.mcp_transport import Command, Notes, Transport, Url
from marl.tools.tool import Tool, ToolError
from protocols.realtime import real_loop

START: Final = 20.0
"""Real seconds until a server must be ready."""
MAX_PAGES: Final = 1000
GONE: Final = "Session terminated"
"""What the package mcp says where a server over HTTP has forgotten the session: it has not run the call."""


class Connection:
    """One connection to an MCP server, held open in a task of its own."""

    def __init__(self, transport: Transport) -> None:
        self.notes = Notes(transport.name)
        self.client: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._hold(transport))

    @property
    def lost(self) -> bool:
        """Whether the server will not answer any more."""
        return self.task.done() or self.task.cancelling() > 0 or (self.notes.ended and self.client.done())

    async def _hold(self, transport: Transport) -> None:
        """Open the connection and hold it in the same task until it is cancelled."""
        from mcp.client import Client

        try:
            async with Client(transport.connect(self.notes)) as client:
                self.client.set_result(client)
                await asyncio.get_running_loop().create_future()
        except Exception as error:
            if not self.client.done():
                reason = await _reason(error, self.notes)
                self.client.set_exception(ToolError(f"the MCP server {transport.name!r} does not start: {reason}"))
                self.client.exception()  # who asked may have left


class McpServer:
    """An MCP server and its current connection. Call its coroutines on the real-time loop."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self._connection: Connection | None = None

    async def connect(self) -> tuple[Connection, Any]:
        """Return the connection and its client, after a restart if it was lost; raises ToolError."""
        connection = self._connection
        if connection is None or connection.lost:
            self._leave(connection)
            connection = self._connection = Connection(self.transport)
        try:
            return connection, await asyncio.wait_for(asyncio.shield(connection.client), START)
        except TimeoutError:
            self._leave(connection)
            raise ToolError(f"the MCP server {self.transport.name!r} was not up within {START:g} s") from None

    def _leave(self, connection: Connection | None) -> None:
        """Close a connection; the next call opens another one."""
        if connection is not None:
            connection.task.cancel()
        if self._connection is connection:
            self._connection = None

    async def call(self, tool: str, arguments: dict[str, Any]) -> str:
        """Call one of the server's tools; raises ToolError for what the server reports as an error."""
        import anyio
        from mcp import MCPError
        from mcp_types import CONNECTION_CLOSED

        for attempt in range(2):
            connection, client = await self.connect()
            try:
                result = await client.call_tool(tool, arguments)
            except MCPError as error:
                if error.code != CONNECTION_CLOSED and error.message != GONE:
                    raise ToolError(error.message) from None
                self._leave(connection)
                if error.message == GONE and attempt == 0:
                    continue
                outcome = await connection.notes.outcome()
                raise ToolError(f"the MCP server was lost{f' ({outcome})' if outcome else ''}") from None
            except (anyio.ClosedResourceError, anyio.BrokenResourceError, OSError) as error:
                self._leave(connection)
                raise ToolError(f"the MCP server was lost ({str(error) or type(error).__name__})") from None
            except ValidationError as error:  # the server is still there
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                raise ToolError(f"the MCP server's answer is invalid: {where}: {first['msg']}") from None
            except Exception as error:  # its answer breaks its own schema
                raise ToolError(str(error).partition("\n")[0] or type(error).__name__) from None
            text = answer_text(result.content, result.structured_content)
            if result.is_error:
                raise ToolError(text or "the tool failed")
            return text
        raise AssertionError

    async def tools(self) -> list[Any]:
        """Return all tools, from every page of the server's list; raises ToolError for a list that does not end."""
        _, client = await self.connect()
        tools: list[Any] = []
        cursor, cursors = None, set()
        for _ in range(MAX_PAGES):
            page = await client.list_tools(cursor=cursor)
            tools += page.tools
            cursor = page.next_cursor
            if not cursor or cursor in cursors:
                return tools
            cursors.add(cursor)
        raise ToolError(f"the list of tools of the MCP server has more than {MAX_PAGES} pages")


async def _reason(error: BaseException, notes: Notes) -> str:
    """Return why a server does not start: the first error inside of groups, and how the server ended."""
    from mcp import MCPError
    from mcp_types import CONNECTION_CLOSED, UNSUPPORTED_PROTOCOL_VERSION
    from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = str(error) or type(error).__name__
    if "protocol version" in text or (isinstance(error, MCPError) and error.code == UNSUPPORTED_PROTOCOL_VERSION):
        known = (*HANDSHAKE_PROTOCOL_VERSIONS, *MODERN_PROTOCOL_VERSIONS)
        data = getattr(error, "data", None)
        offered = f" (it offers {', '.join(map(str, data['supported']))})" if data and data.get("supported") else ""
        return f"{text}{offered}; this client speaks versions {known[0]} to {known[-1]} of the protocol"
    if isinstance(error, MCPError) and error.code == CONNECTION_CLOSED:
        return await notes.outcome() or text
    if notes.http_status in (401, 403):
        return f"it refuses the key (HTTP {notes.http_status}): name the environment variable of the token in `key`"
    if notes.http_status is not None and notes.http_status >= 300:
        return f"it answers with HTTP {notes.http_status} ({text}): is the address that of an MCP server?"
    return text


def answer_text(content: Iterable[Any], structured: Any) -> str:
    """Return an answer as text: its parts line by line, then its structured content unless the text says the same."""
    text = "\n".join(map(_part, content))
    if structured is None or _says(text, structured):
        return text
    return "\n".join(filter(None, [text, json.dumps(structured, ensure_ascii=False)]))


def _part(part: Any) -> str:
    """Return a part of an answer as text; for what is no text, what it is and where it stands."""
    if part.type == "text":
        return str(part.text)
    if part.type == "resource":
        text = getattr(part.resource, "text", None)
        return str(text) if text is not None else _listed("resource", part.resource.uri, part.resource.mime_type)
    if part.type == "resource_link":
        return _listed("link", part.name, part.uri, part.mime_type, part.description)
    return _listed(part.type, getattr(part, "mime_type", None))


def _listed(*facts: Any) -> str:
    return f"({', '.join(str(fact) for fact in facts if fact)})"


def _says(text: str, structured: Any) -> bool:
    """Whether a text says what structured content does: as JSON, or as the only value under `result`."""
    if not text:
        return False
    if isinstance(structured, Mapping) and list(structured) == ["result"]:
        return True  # the package mcp wraps results of Python functions so
    try:
        return bool(json.loads(text) == structured)
    except ValueError:
        return False


def mcp(
    command: Sequence[str] = (),
    tool: str = "",
    url: str = "",
    env: Mapping[str, Any] | Sequence[str] = (),
    key: str = "",
) -> Tool:
    """Return a tool of the MCP server that a command starts or that is at a url: `tool`, or the only one.

    Args:
        command: a list of words.
        tool: the tool's name at the server.
        url: the address of a server that speaks streamable HTTP, instead of a command.
        env: environment variables of a command: a table of names and values, or a list of names that are passed on.
        key: the environment variable that holds the bearer token for a url.

    Raises ValueError where the server does not start, or has no such tool.
    """
    transport = _transport(command, url, env, key)
    try:
        import mcp as _  # noqa: F401
    except ModuleNotFoundError:
        raise ValueError("MCP needs the package mcp: pip install 'sabir[tools]'") from None
    server = McpServer(transport)
    listing = asyncio.run_coroutine_threadsafe(server.tools(), real_loop())
    try:
        tools = listing.result(2 * START)
    except Exception as error:
        listing.cancel()
        raise ValueError(str(error) or f"the MCP server {transport.name!r} does not answer") from None
    names = [offered.name for offered in tools]
    if not names:
        raise ValueError(f"the MCP server {transport.name!r} has no tools")
    if (tool or len(names) != 1) and tool not in names:
        raise ValueError(f"the MCP server has no tool {tool!r}: tool is one of {', '.join(names)}")
    chosen = next(offered for offered in tools if offered.name == (tool or names[0]))
    schema = dict(chosen.input_schema)

    async def call(**arguments: Any) -> str:
        return await server.call(chosen.name, arguments)

    def check(arguments: dict[str, Any]) -> dict[str, Any]:
        return {name: _typed(value, schema.get("properties", {}).get(name, {})) for name, value in arguments.items()}

    return Tool(chosen.name, (chosen.description or "").strip().partition("\n\n")[0], schema, call, check)


def _transport(command: Any, url: Any, env: Any, key: Any) -> Transport:
    """Return the way to a server from the options of a tool; raises ValueError for invalid ones."""
    if bool(command) == bool(url):
        raise ValueError('name either a command, such as ["npx", "server"], or a url, such as "http://localhost/mcp"')
    if url:
        if env:
            raise ValueError("env is for a server that a command starts: one at a url has its own environment")
        if not isinstance(url, str):
            raise ValueError('url is an address, such as "http://localhost/mcp"')
        parts = split_address(url, "url")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError('url is an address, such as "http://localhost/mcp"')
        if not isinstance(key, str) or (key and not key.isidentifier()):
            raise ValueError("key is the name of the environment variable that holds the token, not the token itself")
        return Url(url, key)
    if key:
        raise ValueError("key is for a server at a url: a command gets its environment with env")
    if isinstance(command, str) or not all(isinstance(word, str) and "\0" not in word for word in command):
        raise ValueError('command is a list of words, such as ["npx", "server"]')
    return Command(tuple(command), _environment(env))


def _environment(env: Any) -> dict[str, str]:
    """Return environment variables from a table of values, or a list of names whose values are passed on."""
    if isinstance(env, Mapping):
        values = dict(env)
    elif isinstance(env, str) or not all(isinstance(name, str) for name in env):
        raise ValueError('env is a table such as {TOKEN = "..."}, or a list of names of variables to pass on')
    else:
        if missing := [name for name in env if name not in os.environ]:
            raise ValueError(f"env passes on the environment variable {missing[0]}, which is not set")
        values = {name: os.environ[name] for name in env}
    for name, value in values.items():
        if not name or "=" in name or "\0" in name:
            raise ValueError(f"env: {name!r} cannot be the name of an environment variable")
        if isinstance(value, bool) or not isinstance(value, str | int | float) or "\0" in str(value):
            raise ValueError(f"env: the value of {name} must be a text or a number")
    return {name: str(value) for name, value in values.items()}


def _typed(value: Any, schema: Any) -> Any:
    """Parse a word as JSON where the schema wants no string; the server rejects what is not JSON."""
    wanted = schema.get("type") if isinstance(schema, dict) else None
    if not isinstance(value, str) or wanted in (None, "string"):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
