"""Asides: requests for memory notes and tool calls, before an agent replies to the arena.

The first request of a stage shows the arena's view; later ones in the same stage show a control word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from arenas.spec import ReplySpec
from marl.context.memory import State
from marl.context.prompts import GO, MORE, WRITE
from marl.rollout.exchange import Exchange
from marl.rollout.turn_request import TurnRequest
from marl.tools.toolbox import Toolbox
from protocols.envelope import Kind

Views = dict[str, str | None]
"""Agent -> the arena's view that it still has to be shown in this stage; None if it was shown already."""


async def ask_asides(exchange: Exchange, group: Sequence[str]) -> Views:
    """Let agents who are asked at the same time write their memory and call tools; return the views left to show."""
    views: Views = {agent: exchange.arena.view(agent) for agent in group}
    if exchange.world.notes:
        await _ask_notes(exchange, views)
    box = exchange.world.box
    calls_left = {agent: calls for agent in group if (calls := box.calls(agent))} if box.configs else {}
    while calls_left:
        requests = {agent: _call_request(box, calls, views[agent]) for agent, calls in calls_left.items()}
        for agent, words in (await exchange.ask(requests)).items():
            views[agent] = None
            if words:
                calls_left[agent][words[0]] -= 1
            if not words or not any(calls_left[agent].values()):
                del calls_left[agent]
    return views


async def _ask_notes(exchange: Exchange, views: Views) -> None:
    """Ask the agents that write their own memory: before they see what is new, or (`state`) after."""
    world = exchange.world
    requests = {}
    for agent, view in views.items():
        spec = world.notes.get(agent)
        if spec is None:
            continue
        if isinstance(world.scenario.memory[agent], State):
            requests[agent] = TurnRequest(spec, view or "", aside=Kind.NOTE)
            views[agent] = None
        elif agent in exchange.replied:  # before its first reply there is nothing to remember
            requests[agent] = TurnRequest(spec, WRITE, aside=Kind.NOTE, again=True)
    if requests:
        await exchange.ask(requests)


def _call_request(box: Toolbox, calls_left: Mapping[str, int], view: str | None) -> TurnRequest:
    spec = box.spec(name for name, left in calls_left.items() if left)
    return TurnRequest(spec, MORE if view is None else view, aside=Kind.CALL, again=view is None)


def final_request(spec: ReplySpec, view: str | None) -> TurnRequest:
    """Return the request for the reply to the arena, after all asides."""
    return TurnRequest(spec, GO if view is None else view, again=view is None)
