"""Native tool calls of chat models, rewritten as the line that calls a tool here: its name and then its arguments.

<tool_call>{"name": "calculator", "arguments": {"expression": "2 + 3"}}</tool_call>
[TOOL_CALLS] [{"name": "calculator", "arguments": {"expression": "2 + 3"}}]
<function=calculator><parameter=expression>2 + 3</parameter></function>
calculator(expression="2 + 3")
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

FENCE: Final = re.compile(r"\A\s*```[\w+-]*\n(?P<text>.*?)\n?```\s*\Z", re.DOTALL)
TAGGED: Final = re.compile(
    r"(?:<tool_call>|<\|tool_call\|>|<\|tool_call_begin\|>|\[TOOL_CALLS?\]|<\|python_tag\|>|<function_call>|<tools?>)"
    r"\s*(?P<call>.*?)\s*(?:</tool_call>|<\|/tool_call\|>|<\|tool_call_end\|>|</function_call>|</tools?>|\Z)",
    re.DOTALL | re.IGNORECASE,
)
FUNCTION: Final = re.compile(r"<function=(?P<name>[^>\s]+)>\s*(?P<arguments>.*?)\s*(?:</function>|\Z)", re.DOTALL)
PARAMETER: Final = re.compile(r"<parameter=(?P<name>[^>\s]+)>\s*(?P<value>.*?)\s*</parameter>", re.DOTALL)
PAIR: Final = re.compile(
    r"<arg_key>\s*(?P<name>.*?)\s*</arg_key>\s*<arg_value>\s*(?P<value>.*?)\s*</arg_value>", re.DOTALL
)
PYTHONIC: Final = re.compile(r"\A\s*\[?\s*(?P<name>[\w.-]+)\s*\((?P<arguments>.*)\)\s*\]?[.;]?\s*\Z", re.DOTALL)


def unfence(text: str) -> str:
    """Return a text without the code fence around all of it."""
    fenced = FENCE.match(text)
    return fenced["text"] if fenced else text


def plain_call(text: str, names: Iterable[str]) -> str:
    """Return a native call of one of these tools as a line; any other text as it is."""
    tools = {name.casefold(): name for name in names}
    tagged = TAGGED.search(text)
    body = unfence(tagged["call"] if tagged else text).strip()
    for read in (_json, _function, _pairs, _pythonic):
        call = read(body)
        if call is not None and call[0].casefold() in tools:
            name, arguments = tools[call[0].casefold()], call[1]
            return f"{name} {arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)}"
    if tagged and body.partition(" ")[0].rstrip(":").casefold() in tools:
        return body
    return text


def _json(body: str) -> tuple[str, Any] | None:
    """Read an object with the name and the arguments, alone or first in a list, or `name{arguments}`."""
    name, brace, _ = body.partition("{")
    name = name.replace("[ARGS]", "").strip()
    try:
        if brace and re.fullmatch(r"[\w.-]+", name):
            return name, json.JSONDecoder().raw_decode(body[body.index("{") :])[0]
        call = json.loads(body) if body[:1] in "[{" else None
    except (ValueError, RecursionError):
        return None
    call = call[0] if isinstance(call, list) and call else call
    if isinstance(call, Mapping) and isinstance(call.get("function"), Mapping):
        call = call["function"]
    if not isinstance(call, Mapping):
        return None
    called = next(
        (call[key] for key in ("name", "tool", "function", "tool_name") if isinstance(call.get(key), str)), ""
    )
    keys = ("arguments", "parameters", "args", "input", "tool_input")
    return called, next((call[key] for key in keys if key in call), {})


def _function(body: str) -> tuple[str, Any] | None:
    function = FUNCTION.search(body)
    if function is None:
        return None
    parameters = {part["name"]: part["value"] for part in PARAMETER.finditer(function["arguments"])}
    return function["name"], parameters or function["arguments"] or {}


def _pairs(body: str) -> tuple[str, Any] | None:
    pairs = {part["name"]: part["value"] for part in PAIR.finditer(body)}
    return (body.split("<", 1)[0].strip(), pairs) if pairs else None


def _pythonic(body: str) -> tuple[str, Any] | None:
    """Read `name(argument)` and `name(parameter=value)`."""
    call = PYTHONIC.match(body)
    if call is None:
        return None
    try:
        parsed = ast.parse(f"call({call['arguments']})", mode="eval").body
        assert isinstance(parsed, ast.Call)
        if not parsed.args and all(keyword.arg for keyword in parsed.keywords):
            return call["name"], {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in parsed.keywords}
        if len(parsed.args) == 1 and not parsed.keywords and isinstance(parsed.args[0], ast.Constant):
            return call["name"], str(parsed.args[0].value)
    except (SyntaxError, ValueError, TypeError, AssertionError, RecursionError, MemoryError):
        pass
    return call["name"], call["arguments"].strip()
