"""Native tool calls of chat models are calls."""

from __future__ import annotations

import json
from typing import Any

import pytest

from arenas.spec import choose, say
from marl.policy.endpoint import fit
from marl.rollout.plan import Plan
from marl.tools import ToolConfig
from marl.tools.toolbox import Toolbox
from tests.marl.policy.test_endpoint import Server, says, seats
from tests.marl.policy.test_endpoint import server as server  # the fixture
from tests.marl.policy.test_endpoint_forms import message
from tests.marl.worlds import one, world


@pytest.mark.parametrize(
    ("native", "line"),
    [
        (
            '<tool_call>\n{"name": "calculator", "arguments": {"expression": "2 + 3"}}\n</tool_call>',
            {"expression": "2 + 3"},
        ),
        ('I calculate. <tool_call>{"name": "Calculator", "arguments": {"a": 1}}</tool_call>', {"a": 1}),
        ('{"name": "calculator", "parameters": {"a": 1}}', {"a": 1}),
        ('```json\n{"tool": "calculator", "input": {"a": 1}}\n```', {"a": 1}),
        ('[TOOL_CALLS] [{"name": "calculator", "arguments": {"a": 1}}]', {"a": 1}),
        ('[TOOL_CALLS]calculator[ARGS]{"a": 1}', {"a": 1}),
        ('<|python_tag|>{"name": "calculator", "parameters": {"a": 1}}', {"a": 1}),
        ('{"type": "function", "function": {"name": "calculator", "arguments": "{\\"a\\": 1}"}}', '{"a": 1}'),
        ('<function=calculator>{"a": 1}</function>', '{"a": 1}'),
        ("<tool_call><function=calculator><parameter=a>\n1\n</parameter></function></tool_call>", {"a": "1"}),
        ("<tool_call>calculator\n<arg_key>a</arg_key><arg_value>1</arg_value></tool_call>", {"a": "1"}),
        ("calculator(2 + 3)", "2 + 3"),
        ('calculator("2 + 3")', "2 + 3"),
        ('[calculator(expression="2 + 3")]', {"expression": "2 + 3"}),
        ("```\ncalculator 2 + 3\n```", "2 + 3"),
        ("calculator 2 + 3", "2 + 3"),
        ("calculator 2 * (2 + 3)", "2 * (2 + 3)"),
    ],
)
def test_a_native_tool_call_is_a_call(native: str, line: Any) -> None:
    spec = Toolbox({"calculator": ToolConfig()}, ["solver_0"], ["1"]).spec(["calculator"])
    assert fit(native, spec) == f"calculator {line if isinstance(line, str) else json.dumps(line)}"


def test_what_is_no_tool_call_stays_as_it_is() -> None:
    assert fit("f(x) is what i want", say(("x",), 1, free=80)) == "f(x) is what i want"
    assert fit('{"name": "calculator"}', choose(("a",))) == '{"name": "calculator"}'
    assert fit("none", say(("x",), 1, free=80)) == "none"


def test_a_call_in_the_field_of_the_message_is_one(server: Server) -> None:
    call = {"type": "function", "function": {"name": "calculator", "arguments": '{"expression": "1 + 1"}'}}
    server.answers = [message(None, "tool_calls", tool_calls=[call]), says("2")]
    here = world("arithmetic", tools={"calculator": {}})
    episode = one(here, Plan("e", seats(here, server.address()), 1))
    assert [e.envelope.body for e in episode.log.entries if e.envelope.kind == "result"] == ["2"]
