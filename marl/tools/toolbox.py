"""The tools of a world: who may call which, what a call may look like, and the members of the bus that answer."""

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
"""What may be said instead of silence by an agent that calls nothing."""
ERROR: Final = "error:"
"""How the answer to a call that failed begins."""


class Toolbox:
    """The tools of a world. Raises ProtocolError for one that cannot be.

    A `sealed` box makes no tool, and answers no call but those recorded.
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
                raise ProtocolError(f"tool {name}: a seat has this name, so choose another")
            if absent := [seat for seat in config.seats if seat not in agents]:
                raise ProtocolError(f"tool {name}: no seat {absent[0]!r}; the seats are {', '.join(agents)}")
            if not (config.words or vocabulary):
                raise ProtocolError(f"tool {name}: the arena has no words, so say in `words` what a call may hold")
        self.tools = {} if sealed else {name: make(name, config) for name, config in self.configs.items()}
        self._words = {name: config.words or tuple(vocabulary) for name, config in self.configs.items()}
        self._specs: dict[tuple[str, ...], ReplySpec] = {}
        self._calls = {
            agent: {name: c.calls for name, c in self.configs.items() if not c.seats or agent in c.seats}
            for agent in agents
        }

    @property
    def words(self) -> tuple[str, ...]:
        """Every word that calls and answers add to a vocabulary."""
        called = (word for words in self._words.values() for word in words)
        return tuple(dict.fromkeys([*self.configs, NONE, ERROR, *called])) if self.configs else ()

    def calls(self, agent: str) -> dict[str, int]:
        """Return how often an agent may call which tool before one reply."""
        return dict(self._calls[agent])

    def spec(self, names: Iterable[str]) -> ReplySpec:
        """Return what may be said where these tools can be called: one's name and then a call; `none`, or nothing.

        The names are channels that the speaker chooses from.
        """
        chosen = tuple(names)
        known = self._specs.get(chosen)
        if known is None:
            words = tuple(dict.fromkeys(word for name in chosen for word in self._words[name]))
            length = max(self.configs[name].length for name in chosen)
            free = max(self.configs[name].free for name in chosen)
            named = (*chosen, NONE)
            steps = (named, *(words,) * length)
            known = self._specs[chosen] = ReplySpec(steps, "say", 0, channels=named, free=free)
        return known

    def about(self, agent: str) -> str:
        """Tell an agent in words which tools it has and how they are called; nothing if it has none."""
        lines = []
        for name, calls in self._calls[agent].items():
            tool, config = self.tools[name], self.configs[name]
            known = tool.parameters.get("properties", {})
            needs = "; ".join(f"{each} is {_described(schema)}" for each, schema in known.items())
            cost = f" Each call costs {config.price:g}." if config.price else ""
            call = " ".join([name, *(each.upper() for each in known)])
            lines.append(f"- {call}: {tool.description} {needs}. At most {calls} a turn.{cost}")
        return "\n".join(["You have tools:", *lines]) if lines else ""


def _described(schema: Mapping[str, Any]) -> str:
    """Return what is told of an argument: its description, and its type if it is no text."""
    kind = "" if schema.get("type") == "string" else str(schema.get("type", json.dumps(dict(schema))))
    return ", ".join(filter(None, [kind, str(schema.get("description", "")).strip()])) or "a text"


class Member:
    """One tool as a member of the bus in one episode: it answers each call, the recorded ones as they were answered."""

    def __init__(
        self, box: Toolbox, name: str, bus: MemoryBus, run: str, episode: str, recorded: Mapping[int, str]
    ) -> None:
        self._box, self._name, self._bus = box, name, bus
        self._episode, self._recorded = episode, recorded
        self._topic = topics.sent_by(run, episode, name)
        self._answered = 0

    async def serve(self, inbox: Subscription) -> None:
        """Answer calls as they come, several at once, until cancelled."""
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
