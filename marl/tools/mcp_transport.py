"""Transports to MCP servers: a child process over stdin and stdout, or streamable HTTP.

Both note what a server shows of its end: its exit status, the last lines that it wrote, the last HTTP status.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import threading
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from marl.errors import UserError
from marl.http_client import client_options, read_key

logger = logging.getLogger(__name__)
EXIT: Final = "sabir-exit-status "
REPORT_EXIT: Final = f'"$@"; status=$?; echo "{EXIT}$status" >&2; exit $status'
"""Shell command that runs its arguments and writes their exit status to stderr."""
LINES: Final = 20


@dataclass
class Notes:
    """What is known of a server beside its answers."""

    name: str
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LINES))
    """Last lines on stderr, and those on stdout that are no messages."""
    noisy: bool = False
    exit_status: int | None = None
    http_status: int | None = None
    ended: bool = False
    """Whether stdout has ended: the process has exited, or will answer nothing more."""
    reader: threading.Thread | None = None

    def read_stderr(self, descriptor: int) -> None:
        """Note the lines of stderr up to its end; runs on a thread of its own."""
        with os.fdopen(descriptor, encoding="utf-8", errors="replace") as stderr:
            for line in stderr:
                if line.startswith(EXIT):
                    self.exit_status = int(line.removeprefix(EXIT))
                elif shown := printable(line):
                    self.lines.append(shown)
                    logger.info("%s: %s", self.name, shown)

    def note_noise(self, error: Exception) -> None:
        """Note a line on stdout that is no message; warns of the first one."""
        errors: list[Any] = getattr(error, "errors", list)()
        line = printable(str(errors[0].get("input", "") if errors else error))
        if line:
            self.lines.append(line)
        if not self.noisy:
            self.noisy = True
            logger.warning(
                "the MCP server %r writes lines to stdout that are no messages, such as %r: it should use stderr",
                self.name,
                line,
            )

    async def outcome(self) -> str:
        """Return how the server ended and what it wrote last, as far as that is known."""
        if self.reader is not None:
            await asyncio.to_thread(self.reader.join, 0.5)
        telling = [line for line in self.lines if "error" in line.lower() or "exception" in line.lower()]
        last = (telling or list(self.lines) or [""])[-1]
        if self.exit_status is not None:
            return f"it exited with status {self.exit_status}" + (f": {last}" if last else ", without a word")
        return f"it wrote: {last}" if last else ""


class Transport(Protocol):
    """Way to a server."""

    @property
    def name(self) -> str:
        """What errors call it."""

    def connect(self, notes: Notes) -> AbstractAsyncContextManager[Any]:
        """Return the transport of one connection, as the client of the package mcp takes it; raises UserError."""


@dataclass(frozen=True)
class Command:
    """Server that a command starts, and that talks over stdin and stdout."""

    command: Sequence[str]
    environment: Mapping[str, str]
    """Variables of the server beside those that every server gets, such as PATH and HOME."""

    @property
    def name(self) -> str:
        """The program."""
        return self.command[0]

    @asynccontextmanager
    async def connect(self, notes: Notes) -> AsyncIterator[Any]:
        """Start the server; raises UserError where there is no such program."""
        import anyio
        from mcp import StdioServerParameters
        from mcp.client.stdio import stdio_client

        if shutil.which(self.name, path=self.environment.get("PATH")) is None:
            raise UserError("there is no such program, or it is not executable")
        logging.getLogger("mcp.client.stdio").addFilter(_is_no_noise)
        arguments = ["-c", REPORT_EXIT, "sh", *self.command]
        parameters = StdioServerParameters(
            command="/bin/sh", args=arguments, env=dict(self.environment), encoding_error_handler="replace"
        )
        reading, writing = os.pipe()
        notes.reader = threading.Thread(target=notes.read_stderr, args=(reading,), name="mcp-stderr", daemon=True)
        notes.reader.start()
        with os.fdopen(writing, "w") as stderr:
            async with stdio_client(parameters, errlog=stderr) as (incoming, outgoing):
                stderr.close()  # the server has its own copy
                sender, receiver = anyio.create_memory_object_stream[Any](0)

                async def forward() -> None:
                    async with sender:
                        async for message in incoming:
                            if isinstance(message, Exception):
                                notes.note_noise(message)
                            else:
                                await sender.send(message)
                        notes.ended = True

                async with anyio.create_task_group() as group:
                    group.start_soon(forward)
                    yield receiver, outgoing
                    group.cancel_scope.cancel()


@dataclass(frozen=True)
class Url:
    """Server at an address, which speaks streamable HTTP."""

    url: str
    key: str = ""
    """The environment variable that holds a bearer token; empty for none."""

    @property
    def name(self) -> str:
        """The address."""
        return self.url

    @asynccontextmanager
    async def connect(self, notes: Notes) -> AsyncIterator[Any]:
        """Open the connection; raises UserError for a key or a proxy that cannot be used."""
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        async def note(response: httpx2.Response) -> None:
            notes.http_status = response.status_code

        where = f"the MCP server {self.url}"
        token = read_key(self.key, where) if self.key else ""
        async with (
            httpx2.AsyncClient(
                headers={"Authorization": f"Bearer {token}"} if token else {},
                timeout=httpx2.Timeout(30.0, read=300.0),
                event_hooks={"response": [note]},
                **client_options(self.url, where),
            ) as client,
            streamable_http_client(self.url, http_client=client) as streams,
        ):
            yield streams


def printable(line: str) -> str:
    """Return a line without characters that cannot be printed, cut at 300 characters."""
    return "".join(c if c.isprintable() else " " for c in line).strip()[:300]


def _is_no_noise(record: logging.LogRecord) -> bool:
    """Drop the tracebacks of lines on stdout that are no messages: `Notes` warns of them."""
    return not record.getMessage().startswith("Failed to parse JSONRPC message")
