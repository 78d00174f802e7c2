"""Tools of a world: permissions, reply specs of calls, and the bus members that answer them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from arenas.spec import ReplySpec
from marl.tools import ToolConfig, make
from protocols import topics
from protocols.bus import MemoryBus, Subscription
from protocols.envelope import Envelope, Kind
from protocols.errors import ProtocolError

NONE: Final = "none"
"""What an agent may say, instead of silence, to call nothing."""
ERROR: Final = "error:"
"""Prefix of the answer to a failed call."""


class Toolbox:
    """Tools of a world. Raises ProtocolError for an invalid one.

    A `sealed` box makes no tool, and answers recorded calls only.
    """

    def __init__(
        self,
        configs: Mapping[str, ToolConfig],
        agents: Sequence[str],
        vocabulary: Sequence[str],
        *,
        sealed: bool = False,
    ) -> None:
        self.configs = dict(configs)
        for name, config in self.configs.items():
            if topics.name(name) in agents:
                raise ProtocolError(f"tool {name}: a seat has this name: choose another")
            if absent := [seat for seat in config.seats if seat not in agents]:
                raise ProtocolError(f"tool {name}: no seat {absent[0]!r}; the seats are {', '.join(agents)}")
            if not (config.words or vocabulary):
                raise ProtocolError(f"tool {name}: the arena has no words: list in `words` what a call may hold")
        self.tools = {} if sealed else {name: make(name, config) for name, config in self.configs.items()}
        self._words = {name: config.words or tuple(vocabulary) for name, config in self.configs.items()}
        self._specs: dict[tuple[str, ...], ReplySpec] = {}
        self._calls = {
            agent: {name: c.calls for name, c in self.configs.items() if not c.seats or agent in c.seats}
            for agent in agents
        }

    @property
    def words(self) -> tuple[str, ...]:
        """Words that calls and answers add to a vocabulary."""
        called = (word for words in self._words.values() for word in words)
        return tuple(dict.fromkeys([*self.configs, NONE, ERROR, *called])) if self.configs else ()

    def calls(self, agent: str) -> dict[str, int]:
        """Return the most calls of an agent before one reply, by tool."""
        return dict(self._calls[agent])

    def spec(self, names: Iterable[str]) -> ReplySpec:
        """Return the reply spec of a call to one of these tools: its name and then the call; `none`, or nothing.

        The names are channels that the speaker chooses from.
        """
        chosen = tuple(names)
        spec = self._specs.get(chosen)
        if spec is None:
            words = tuple(dict.fromkeys(word for name in chosen for word in self._words[name]))
            length = max(self.configs[name].length for name in chosen)
            free = max(self.configs[name].free for name in chosen)
            named = (*chosen, NONE)
            steps = (named, *(words,) * length)
            spec = self._specs[chosen] = ReplySpec(steps, "say", 0, channels=named, free=free)
        return spec

    def about(self, agent: str) -> str:
        """Return the prompt that describes an agent's tools and how to call them; empty if it has none."""
        lines = []
        for name, calls in self._calls[agent].items():
            tool, config = self.tools[name], self.configs[name]
            properties = tool.parameters.get("properties", {})
            needs = "; ".join(f"{argument} is {_describe(schema)}" for argument, schema in properties.items())
            cost = f" Each call costs {config.price:g}." if config.price else ""
            call = " ".join([name, *(argument.upper() for argument in properties)])
            lines.append(f"- {call}: {tool.description} {needs}. At most {calls} a turn.{cost}")
        return "\n".join(["You have tools:", *lines]) if lines else ""


def _describe(schema: Mapping[str, Any]) -> str:
    """Return the description of an argument, after its type if that is not a string."""
    kind = "" if schema.get("type") == "string" else str(schema.get("type", json.dumps(dict(schema))))
    return ", ".join(filter(None, [kind, str(schema.get("description", "")).strip()])) or "a text"


class ToolMember:
    """A tool as a member of the bus in one episode. It answers calls; a recorded call gets its recorded answer."""

    def __init__(
        self, box: Toolbox, name: str, bus: MemoryBus, run: str, episode: str, recorded: Mapping[int, str]
    ) -> None:
        self._box, self._name, self._bus = box, name, bus
        self._episode, self._recorded = episode, recorded
        self._topic = topics.sent_by(run, episode, name)
        self._answered = 0

    async def serve(self, inbox: Subscription) -> None:
        """Answer calls concurrently as they arrive, until cancelled."""
        async with asyncio.TaskGroup() as group:
            async for call in inbox:
                group.create_task(self._answer(call))

    async def _answer(self, call: Envelope) -> None:
        text = self._recorded.get(call.seq)
        if text is None and self._name not in self._box.tools:
            text = f"{ERROR} a replay calls no tool, and the log holds no answer"
        if text is None:
            said = call.body.strip().removeprefix(self._name).lstrip(": ")  # chat models write `calculator: 1 + 1`
            text = await self._box.tools[self._name].answer(said, self._box.configs[self._name].timeout)
        number, self._answered = self._answered, self._answered + 1
        answer = Envelope(self._episode, self._name, number, Kind.RESULT, call.sender, body=text, reply_to=call.seq)
        self._bus.deliver(self._topic, answer)
