"""Tools are members of the bus: what they are told and answer is in the log, and what they do wrong costs one turn."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arenas.spec import ReplySpec
from marl.context.traces import trace
from marl.critic.tiny import tiny_critic
from marl.episode import Episode
from marl.evaluation import tool_calls as calls
from marl.policy.base import Policy
from marl.policy.scripted import Random, Scripted
from marl.rollout.plan import Plan
from marl.rollout.replay import fork, replay
from marl.scenario.world import World
from marl.tools import TOOLS, Tool, ToolError
from marl.tools.calculator import calculator
from protocols.envelope import Envelope, Kind
from protocols.errors import ProtocolError
from tests.marl.worlds import lm_for, one, played, seated, world
from trainers.batch import collate

SERVER: Final = """
import time
from mcp.server.mcpserver import MCPServer
server = MCPServer("test")

@server.tool()
def add(a: int, b: int) -> int:
    "Add two numbers."
    return a + b

@server.tool()
def hang() -> str:
    "Never answer."
    time.sleep(100)

server.run()
"""


def sums(tools: dict[str, Any], most: int = 20) -> World:
    return world("arithmetic", arena={"most": most}, tools=tools)


def reckoner(*calls: str) -> Policy:
    """Calls what it is told to (the sum, for `{}`), and replies with the last answer."""

    def reply(heard: Sequence[Envelope], spec: ReplySpec) -> str:
        views = [envelope for envelope in heard if envelope.kind is Kind.VIEW]
        if views[-1].data.get("aside") == "call":
            answered = len(views) - 1
            return calls[answered].format(views[0].body) if answered < len(calls) else "none"
        results = [envelope.body for envelope in heard if envelope.kind is Kind.RESULT]
        return results[-1] if results else "0"

    return Scripted(reply)


def answers(episode: Episode) -> list[str]:
    return [envelope.body for envelope, _ in episode.log.entries if envelope.kind is Kind.RESULT]


def play(here: World, *calls: str) -> Episode:
    return one(here, Plan("e", {"solver_0": reckoner(*calls)}, 1))


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def register(name: str, function: Callable[..., Any], **options: Any) -> None:
        monkeypatch.setitem(TOOLS, name, lambda: Tool.of(function, **options))

    return register


def test_a_call_is_heard_by_its_tool_and_answered_to_who_called() -> None:
    here = sums({"calculator": {"calls": 2, "price": 0.125}})
    episode = play(here, "calculator {}")
    assert (episode.score, episode.error, episode.drift) == (0.875, "", 0)
    kinds = [envelope.kind.value for envelope, _ in episode.log.entries]
    assert kinds == ["world", "view", "call", "result", "view", "call", "view", "move", "reward", "end"]
    called, result = episode.log.entries[2].envelope, episode.log.entries[3].envelope
    assert (called.sender, called.to, called.data["price"]) == ("solver_0", "calculator", 0.125)
    assert (result.sender, result.to, result.reply_to) == ("calculator", "solver_0", 2)
    declined = episode.log.entries[5].envelope
    assert (declined.to, declined.body, declined.data.get("legal", True)) == ("", "none", True)
    assert [view.body for view in episode.log.view("solver_0") if view.sender != "solver_0"][1] == result.body


def test_calls_are_counted() -> None:
    here = sums({"calculator": {"calls": 2}})
    logs = [play(here, "calculator 1 + 1", "calculator x").log, play(here, "none").log]
    assert calls.metrics(logs) == {"tools/calls": 1.0, "tools/worked": 0.5, "tools/calculator/worked": 0.5}
    assert calls.metrics(logs[1:]) == {"tools/calls": 0.0}
    assert (
        calls.metrics([one(world("lewis"), Plan("e", dict.fromkeys(["sender_0", "receiver_0"], Random()), 1)).log])
        == {}
    )


def test_calls_are_at_most_as_many_as_the_scenario_allows() -> None:
    episode = play(sums({"calculator": {"calls": 2}}), *["calculator 1 + 1"] * 5)
    assert answers(episode) == ["2", "2"]
    both = play(sums({"calculator": {}, "lookup": {"entries": {"x": "7"}}}), *["calculator 1 + 1", "lookup x"] * 2)
    assert answers(both) == ["2", "7"]


def test_none_and_silence_call_nothing_and_what_chat_models_write_between_name_and_arguments_is_no_matter() -> None:
    for text, expected in {"none": [], "": [], "calculator : 1 + 1.": ["2"], "none at all": []}.items():
        episode = play(sums({"calculator": {}}), text)
        assert (answers(episode), episode.turns[0].legal) == (expected, True)


def test_what_is_no_call_costs_a_turn_and_no_more() -> None:
    episode = play(sums({"calculator": {}}), "I think it is 7")
    assert [turn.legal for turn in episode.turns] == [False, True]
    assert answers(episode) == []
    assert episode.stop.value == "terminated"


def test_replay_and_fork_ask_no_tool_again(tool: Callable[..., None]) -> None:
    asked: list[str] = []

    def oracle(question: str) -> str:
        """Answer differently every time."""
        asked.append(question)
        return str(len(asked))

    tool("oracle", oracle, inline=True)
    here = sums({"oracle": {"calls": 2}})
    episode = play(here, "oracle a", "oracle b")
    assert (asked, answers(episode)) == (["a", "b"], ["1", "2"])
    sealed = World(here.scenario, sealed=True)
    assert one(sealed, replay(episode.log)).log.to_bytes() == episode.log.to_bytes()
    assert one(here, replay(episode.log)).log.to_bytes() == episode.log.to_bytes()
    assert asked == ["a", "b"]
    calls = [seq for seq, (envelope, _) in enumerate(episode.log.entries) if envelope.kind is Kind.CALL]
    again = one(here, fork(episode.log, calls[1], {"solver_0": reckoner("", "oracle c")}))
    assert (asked, answers(again)) == (["a", "b", "c"], ["1", "3"])
    cold = one(sealed, fork(episode.log, calls[1], {"solver_0": reckoner("", "oracle c")}))
    assert answers(cold)[1].startswith("error: a replay calls no tool")


def test_seats_that_have_no_tool_are_not_asked() -> None:
    here = world("lewis", tools={"calculator": {"seats": ["receiver_0"]}})
    episode = one(here, Plan("e", dict.fromkeys(here.agents, Random()), 1))
    assert {turn.agent for turn in episode.turns if len(turn.spec.steps) > 1} == {"receiver_0"}
    assert here.box.about("sender_0") == ""
    description = (
        "- calculator EXPRESSION: Calculate with numbers, + - * / // % ** and parentheses. expression is such as"
    )
    assert description in here.about("receiver_0")


def test_scripts_of_an_arena_call_nothing_and_play_as_without() -> None:
    from marl.cli.seats import script_of

    here = sums({"calculator": {"calls": 3}})
    episode = one(here, Plan("e", {"solver_0": script_of(here, "full")}, 1))
    assert (episode.score, answers(episode)) == (1.0, [])
    assert one(here, replay(episode.log)).log.to_bytes() == episode.log.to_bytes()


def test_a_model_from_scratch_calls_and_only_its_own_words_are_trained() -> None:
    here = sums({"calculator": {"calls": 2, "words": ["1", "2", "+"]}}, most=3)
    lm = lm_for(here)
    episodes = played(here, seated(here, lm), 24)
    assert not any(episode.error for episode in episodes)
    called = [episode for episode in episodes if answers(episode)]
    assert called
    for episode in called:
        read = trace(episode, "solver_0", lm.open)
        own = [token for start, stop, _ in read.spans for token in read.ids[start:stop]]
        assert own == [token for turn in episode.turns for token in turn.sample.tokens]
        result = lm.encode(f"calculator : {answers(episode)[0]}", True)
        assert any(tuple(read.ids[i : i + len(result)]) == tuple(result) for i in range(len(read.ids)))
    longest = max(len(episode.turns) for episode in episodes)
    batch = collate(lm, episodes, ["solver_0"], np.ones((len(episodes), longest)))
    assert batch.trained.sum() <= sum(len(turn.sample.tokens) for e in episodes for turn in e.turns)
    critic = tiny_critic(
        here.agents, here.vocabulary, scope="central", width=16, layers=1, heads=1, context=256, seed=1
    )
    assert critic.predict(episodes)[1].isfinite().all()


@pytest.mark.parametrize("clock", ["virtual", "wall"])
def test_a_tool_that_hangs_costs_one_turn(clock: Any, tool: Callable[..., None]) -> None:
    async def slow() -> str:
        await asyncio.sleep(100)
        return ""

    tool("stuck", lambda: time.sleep(3))
    tool("slow", slow)
    here = sums({"stuck": {"timeout": 0.02}, "slow": {"timeout": 0.02}, "calculator": {}})
    (episode,) = played(here, {"solver_0": reckoner("stuck", "slow", "calculator {}")}, 1, clock=clock)
    assert answers(episode)[:2] == ["error: no answer within 0.02 s"] * 2
    assert episode.score == 1.0


def test_whatever_a_tool_does_is_text(tool: Callable[..., None]) -> None:
    def wild(what: Literal["raise", "object", "long", "exit", "surrogate"]) -> Any:
        """Misbehave."""
        if what == "raise":
            raise ToolError("told so")
        if what == "exit":
            raise SystemExit(3)
        return {"object": object(), "long": "x" * 10_000, "surrogate": "\ud800"}[what]

    tool("wild", wild)
    here = sums({"wild": {"calls": 9}})
    calls = ["raise", "object", "long", "exit", "surrogate", "else", "a b", '{{"what": 3}}', "{{}}"]
    results = answers(play(here, *[f"wild {call}" for call in calls]))
    assert results[0] == "error: told so"
    assert results[1].startswith('"<object object')
    assert (len(results[2]) < 2100, results[3]) == (True, "error: SystemExit: 3")
    assert results[4] == "?"
    assert all(error.startswith("error: what: Input should be 'raise'") for error in results[5:8])
    assert results[8] == "error: what: Field required"
    assert answers(play(here, "wild {{", "wild"))[0].startswith("error: not JSON")


def test_the_schema_is_the_functions() -> None:
    def book(day: int, names: list[str], note: str = "") -> str:
        """Book a table.

        More about it.

        Args:
            day: of the month
            names: who comes
        """
        return f"{day} {names} {note}"

    tool = Tool.of(book)
    assert (tool.name, tool.description) == ("book", "Book a table.")
    assert tool.parameters["required"] == ["day", "names"]
    assert tool.parameters["properties"]["day"] == {"type": "integer", "description": "of the month", "title": "Day"}
    assert tool.arguments('{"day": "3", "names": ["a"]}') == {"day": 3, "names": ["a"], "note": ""}
    with pytest.raises(ToolError, match="names: Field required"):
        tool.arguments("3")
    with pytest.raises(ValueError, match="must be named"):
        Tool.of(lambda *words: "")


@settings(max_examples=200, deadline=None)
@given(st.recursive(st.integers(0, 99).map(str), lambda e: st.tuples(e, st.sampled_from("+-*"), e).map(" ".join)))
def test_the_calculator_calculates(expression: str) -> None:
    assert calculator(expression) == str(eval(expression))


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="0123456789+-*/%.() ex_ajn='", max_size=30) | st.text(max_size=30))
def test_the_calculator_gives_a_number_or_says_why_not(expression: str) -> None:
    with suppress(ToolError):  # nothing else may be raised
        float(calculator(expression))


@pytest.mark.parametrize("bomb", ["9**9**9**9", "10**600", "(" * 150, "__import__('os')", "2**0.5**-999", "1e308*10j"])
def test_the_calculator_holds(bomb: str) -> None:
    with pytest.raises(ToolError):
        calculator(bomb)


def test_lookup_and_search_find() -> None:
    here = sums({"lookup": {"entries": {"Paris": "France"}, "calls": 2}})
    assert answers(play(here, "lookup paris ", "lookup pari")) == [
        "France",
        "error: nothing stands under 'pari'; near it: paris",
    ]
    texts = ["the cat sat", "a dog barked", "the cat and the dog slept"]
    here = sums({"search": {"documents": texts, "most": 2, "calls": 2}})
    assert answers(play(here, "search CAT dog", "search zebra")) == [
        "the cat and the dog slept / the cat sat",
        "error: no document has a word of 'zebra'",
    ]


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ({"calculater": {}}, "tool calculater: there is no type 'calculater'; did you mean calculator"),
        ({"calc": {"type": "calculator", "digits": 3}}, "tool calc: .*'digits'"),
        ({"calculator": {"seats": ["a"]}}, "tool calculator: no seat 'a'; the seats are solver_0"),
        ({"solver_0": {"type": "calculator"}}, "a seat has this name"),
        ({"a/b": {"type": "calculator"}}, "cannot be a name"),
        ({"search": {}}, "search needs documents"),
        ({"python": {"memory": 1}}, "memory >= 64"),
        ({"mcp": {"command": "server"}}, "command is a list of words"),
        ({"mcp": {"command": ["/nonexistent"]}}, "the MCP server '/nonexistent' does not start"),
    ],
)
def test_a_tool_that_cannot_be_is_refused_in_a_sentence(tools: dict[str, Any], message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        sums(tools)


def test_tools_need_a_floor_by_turns() -> None:
    with pytest.raises(ProtocolError, match="tools need a floor"):
        world("arithmetic", tools={"calculator": {}}, floor="free")


def test_an_mcp_server_is_a_tool_and_may_fail(tmp_path: Path) -> None:
    pytest.importorskip("mcp")
    file = tmp_path / "server.py"
    file.write_text(SERVER)
    command = [sys.executable, str(file)]
    with pytest.raises(ProtocolError, match="tool is one of add, hang"):
        sums({"mcp": {"command": command}})
    here = sums(
        {
            "add": {"type": "mcp", "command": command, "tool": "add", "calls": 3},
            "hang": {"type": "mcp", "command": command, "tool": "hang", "timeout": 0.05},
        }
    )
    assert "Add two numbers." in here.box.about("solver_0")
    results = answers(play(here, "add 3 4", "hang", "add three 4", 'add {{"a": 20, "b": 1}}'))
    assert (results[0], results[3]) == ("7", "21")
    assert results[1] == "error: no answer within 0.05 s"
    assert results[2].startswith("error:")
