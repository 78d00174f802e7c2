"""MCP servers: errors leave them running, lost ones are restarted, and why one does not start is one sentence."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import pytest

from marl.tools import Tool, ToolError
from marl.tools.mcp import answer_text, mcp
from protocols.realtime import real_loop

pytest.importorskip("mcp")

# A server that speaks the protocol by hand and does one thing in an unusual way.
SERVER: Final = """
import json, os, sys
kind, folder = sys.argv[1], sys.argv[2]

def first():
    try:
        return bool(os.close(os.open(folder + "/once", os.O_CREAT | os.O_EXCL))) or True
    except FileExistsError:
        return False

if kind == "exit": sys.exit("no licence")
if kind == "silent": sys.exit(3)
if kind == "killed": os.kill(os.getpid(), 9)
if kind == "usage": print("usage: server FILE"); sys.exit(2)
if kind == "broken": import no_such_module
if kind == "noise": print("ready to serve\\nno json here", flush=True)

def out(message): print(json.dumps(message), flush=True)

TOOL = {"name": "add", "description": "Add.", "inputSchema": {"type": "object", "properties": {
    "a": {"type": "integer"}, "b": {"type": "integer"}}}}
for line in sys.stdin:
    request = json.loads(line)
    if "id" not in request: continue
    method, params = request["method"], request.get("params") or {}
    if method == "initialize":
        version = "2099-01-01" if kind == "future" else params["protocolVersion"]
        about = {"name": "s", "version": "1"}
        result = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": about}
    elif method == "server/discover" and kind == "modern":
        data = {"supported": ["2099-01-01"], "requested": "x"}
        error = {"code": -32022, "message": "Unsupported protocol version", "data": data}
        out({"jsonrpc": "2.0", "id": request["id"], "error": error}); continue
    elif method == "tools/list":
        result = {"tools": [TOOL]}
        page = int(params.get("cursor") or 0)
        if kind == "pages" and page < 3: result = {"tools": [dict(TOOL, name=f"t{page}")], "nextCursor": str(page + 1)}
        if kind == "circle": result["nextCursor"] = "7"
        if kind == "empty": result = {"tools": []}
    elif method == "tools/call":
        result = {"content": [{"type": "text", "text": str(sum(params["arguments"].values()))}]}
        if kind == "env": result["content"][0]["text"] = os.environ.get("SUMS_TOKEN", "(no token)")
        if kind == "noise": print("Traceback: no message either", flush=True)
        if kind.startswith("code") and first():
            error = {"code": int(kind[4:]), "message": "b is odd"}
            out({"jsonrpc": "2.0", "id": request["id"], "error": error}); continue
        if kind == "invalid" and first(): result = {"content": "no list"}
        if kind == "dies" and first(): sys.exit("out of memory")
        if kind == "dies after" and first():
            out({"jsonrpc": "2.0", "id": request["id"], "result": result}); sys.exit(1)
    else:
        out({"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32601, "message": "unknown method"}}); continue
    out({"jsonrpc": "2.0", "id": request["id"], "result": result})
"""


class Servers:
    """Makes tools of servers, and calls them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "server.py"
        self.file.write_text(SERVER)

    def tool(self, kind: str, **options: Any) -> Tool:
        return mcp([sys.executable, str(self.file), kind, str(self.folder)], **options)


def call(tool: Tool, **arguments: Any) -> str:
    """Return what a tool answers, or its error."""
    import asyncio

    try:
        work = tool.call(**(arguments or {"a": 2, "b": 3}))
        return str(asyncio.run_coroutine_threadsafe(work, real_loop()).result(20))
    except ToolError as error:
        return f"error: {error}"


@pytest.fixture
def servers(tmp_path: Path) -> Servers:
    return Servers(tmp_path)


@pytest.mark.parametrize("code", [-32602, -32603, -32601, -32000 - 50, 1])
def test_an_error_leaves_the_server_running(servers: Servers, code: int) -> None:
    tool = servers.tool(f"code{code}")
    assert [call(tool) for _ in range(3)] == ["error: b is odd", "5", "5"]


def test_an_invalid_answer_leaves_the_server_running(servers: Servers) -> None:
    tool = servers.tool("invalid")
    assert call(tool) == "error: the MCP server's answer is invalid: content: Input should be a valid list"
    assert call(tool) == "5"


def test_a_server_that_dies_is_restarted_at_the_next_call(servers: Servers) -> None:
    tool = servers.tool("dies")
    results = [call(tool) for _ in range(3)]
    assert results == ["error: the MCP server was lost (it exited with status 1: out of memory)", "5", "5"]


def test_a_server_that_died_since_the_last_call_is_restarted_before_this_one(servers: Servers) -> None:
    tool = servers.tool("dies after")
    assert call(tool) == "5"
    time.sleep(0.5)
    assert call(tool) == "5"


def test_tools_of_later_pages_are_there(servers: Servers) -> None:
    assert call(servers.tool("pages", tool="add")) == "5"
    assert servers.tool("pages", tool="t2").name == "t2"
    with pytest.raises(ValueError, match="tool is one of t0, t1, t2, add"):
        servers.tool("pages")
    assert servers.tool("circle", tool="add").name == "add", "a list that comes back to a page ends"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("exit", "it exited with status 1: no licence"),
        ("silent", "it exited with status 3, without a word"),
        ("killed", "it exited with status 137"),
        ("usage", "it exited with status 2: usage: server FILE"),
        ("broken", "it exited with status 1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("future", "Unsupported protocol version from the server: 2099-01-01; this client speaks versions 2024"),
        ("modern", r"Unsupported protocol version .it offers 2099-01-01.; this client speaks versions 2024"),
    ],
)
def test_why_a_server_does_not_start_is_one_sentence(servers: Servers, kind: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^the MCP server '.*' does not start: {reason}") as caught:
        servers.tool(kind)
    assert "\n" not in str(caught.value)


def test_a_server_without_tools_is_refused(servers: Servers) -> None:
    with pytest.raises(ValueError, match="has no tools"):
        servers.tool("empty")


def test_noise_on_stdout_is_one_warning(
    servers: Servers, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    tool = servers.tool("noise")
    assert [call(tool) for _ in range(2)] == ["5", "5"]
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "writes lines to stdout that are no messages, such as 'ready to serve'" in record.getMessage()
    assert not [record for record in caplog.records if record.exc_info]
    assert "Traceback" not in capfd.readouterr().err


def test_a_server_gets_the_variables_that_env_names(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUMS_TOKEN", "token-1")
    assert call(servers.tool("env")) == "(no token)"
    assert call(servers.tool("env", env=["SUMS_TOKEN"])) == "token-1"
    assert call(servers.tool("env", env={"SUMS_TOKEN": "token-2"})) == "token-2"
    assert call(servers.tool("env", env={"SUMS_TOKEN": 8080})) == "8080"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "name either a command"),
        ({"command": ["x"], "url": "http://localhost/mcp"}, "name either a command"),
        ({"command": "server"}, "command is a list of words"),
        ({"command": ["x", 3]}, "command is a list of words"),
        ({"command": ["/nonexistent"]}, "'/nonexistent' does not start: there is no such program"),
        ({"command": ["no-such-program-here"]}, "does not start: there is no such program"),
        ({"command": ["x"], "env": ["NOT_SET_HERE"]}, "NOT_SET_HERE, which is not set"),
        ({"command": ["x"], "env": "TOKEN"}, "env is a table"),
        ({"command": ["x"], "env": {"A=B": "c"}}, "cannot be the name of an environment variable"),
        ({"command": ["x"], "env": {"A": ["c"]}}, "the value of A must be a text or a number"),
        ({"command": ["x"], "key": "TOKEN"}, "key is for a server at a url"),
        ({"url": "localhost:80/mcp"}, "url is an address"),
        ({"url": "http://localhost:99999/mcp"}, "its port is not a number from 1 to 65535"),
        ({"url": "http://me:secret@localhost/mcp"}, "must not hold a password"),
        ({"url": "http://localhost/mcp", "key": "sk-secret"}, "not the token itself"),
        ({"url": "http://localhost/mcp", "env": {"A": "b"}}, "env is for a server that a command starts"),
    ],
)
def test_wrong_options_are_refused_in_a_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        mcp(**options)
    assert "secret" not in str(caught.value)


def test_every_part_of_an_answer_is_told() -> None:
    from mcp_types import (
        AudioContent,
        BlobResourceContents,
        EmbeddedResource,
        ImageContent,
        ResourceLink,
        TextContent,
        TextResourceContents,
    )

    embedded = EmbeddedResource(
        type="resource", resource=TextResourceContents(uri="file:///a.txt", text="the sum is 5")
    )
    blob = EmbeddedResource(
        type="resource", resource=BlobResourceContents(uri="file:///a.png", mime_type="image/png", blob="")
    )
    link = ResourceLink(type="resource_link", name="sums", uri="file:///sums.txt", description="all of them")
    picture = ImageContent(type="image", data="", mime_type="image/png")
    sound = AudioContent(type="audio", data="", mime_type="audio/wav")
    text = TextContent(type="text", text="5")
    assert answer_text([embedded], None) == "the sum is 5"
    assert answer_text([blob], None) == "(resource, file:///a.png, image/png)"
    assert answer_text([link], None) == "(link, sums, file:///sums.txt, all of them)"
    assert answer_text([text, picture, sound], None) == "5\n(image, image/png)\n(audio, audio/wav)"
    assert answer_text([], {"sum": 5}) == '{"sum": 5}'
    assert answer_text([], [1, 2]) == "[1, 2]"
    assert answer_text([text], {"result": 5}) == "5"
    assert answer_text([TextContent(type="text", text='{"sum":5}')], {"sum": 5}) == '{"sum":5}'
    assert answer_text([TextContent(type="text", text="done")], {"sum": 5}) == 'done\n{"sum": 5}'
    assert answer_text([], None) == ""


# The server of the tests over HTTP; it wants a token where it is started with one.
HTTP_SERVER: Final = """
import sys
import uvicorn
from mcp.server.mcpserver import MCPServer
from starlette.responses import PlainTextResponse
server = MCPServer("test")

@server.tool()
def add(a: int, b: int) -> int:
    "Add two numbers."
    return a + b

app = server.streamable_http_app()
token = sys.argv[2]

async def guarded(scope, receive, send):
    key = dict(scope.get("headers", ())).get(b"authorization")
    if scope["type"] == "http" and token and key != b"Bearer " + token.encode():
        await PlainTextResponse("no", 401)(scope, receive, send)
    else:
        await app(scope, receive, send)

uvicorn.run(guarded, port=int(sys.argv[1]), log_level="error")
"""


def serve(file: Path, port: int, token: str = "") -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, str(file), str(port), token])
    for _ in range(400):
        assert process.poll() is None
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.05)
    raise AssertionError


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_a_server_over_http_is_a_tool_and_may_be_restarted(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("uvicorn")
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")  # this machine needs no proxy
    url = f"http://127.0.0.1:{port}/mcp"
    with pytest.raises(ValueError, match=f"the MCP server '{url}' does not start: All connection attempts failed"):
        mcp(url=url)
    file = tmp_path / "server.py"
    file.write_text(HTTP_SERVER)
    process = serve(file, port, "secret-token")
    try:
        monkeypatch.setenv("SUMS_KEY", " secret-token\n")
        with pytest.raises(ValueError, match=r"refuses the key \(HTTP 401\): name the environment variable"):
            mcp(url=url)
        with pytest.raises(ValueError, match=r"answers with HTTP 404"):
            mcp(url=f"http://127.0.0.1:{port}/elsewhere", key="SUMS_KEY")
        tool = mcp(url=url, key="SUMS_KEY")
        assert (tool.name, call(tool), call(tool, a=20, b=1)) == ("add", "5", "21")
        assert call(tool, a="x", b=1).startswith("error: ")
        assert call(tool) == "5"
        process.kill()
        process.wait()
        assert call(tool).startswith("error: ")
        process = serve(file, port, "secret-token")
        assert call(tool) == "5"
    finally:
        process.kill()
        process.wait()


def test_the_scenario_holds_no_passed_on_value(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.marl.tools.test_tools import answers, play, sums

    monkeypatch.setenv("SUMS_TOKEN", "token-of-this-test")
    command = [sys.executable, str(servers.file), "code5", str(servers.folder)]
    here = sums({"add": {"type": "mcp", "command": command, "env": ["SUMS_TOKEN"], "calls": 2}})
    episode = play(here, "add 2 3", 'add {{"a": 2, "b": 3}}')
    assert answers(episode) == ["error: b is odd", "5"]
    assert "token-of-this-test" not in episode.log.to_bytes().decode()
    assert "SUMS_TOKEN" in json.dumps(here.scenario.model_dump(mode="json"))
    assert os.environ["SUMS_TOKEN"] == "token-of-this-test"
