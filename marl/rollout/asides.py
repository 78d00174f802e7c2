"""What agents are asked beside the arena's questions: to write their memory, and whether to call a tool.

The first question of a stage shows what the arena shows; those that follow it in the same stage show a word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from arenas.spec import ReplySpec, Words
from marl.context.memory import State
from marl.context.prompts import GO, MORE, WRITE
from marl.tools.toolbox import NONE, Toolbox
from protocols.envelope import Kind

if TYPE_CHECKING:
    from marl.rollout.referee import Referee


class Question(NamedTuple):
    """What an agent is asked. `free`: it may stay silent unheard; `speaking` and `silence` cost it so much reward.

    `aside` is the kind of a reply that is not for the arena; `again`: the view is a word, the arena's was shown before.
    """

    spec: ReplySpec
    view: str
    free: bool = False
    speaking: float = 0.0
    silence: float = 0.0
    aside: Kind | None = None
    again: bool = False

    @property
    def data(self) -> dict[str, Any]:
        """What the view's envelope says beside its text."""
        data: dict[str, Any] = {"reply": self.spec.wire}
        if self.aside is not None:
            data["aside"] = self.aside.value
        if self.again:
            data["again"] = True
        return data

    def legal(self, words: Words | None) -> Words | None:
        """Return a reply as it counts: to call `none` of the tools is to say nothing."""
        return () if self.aside is Kind.CALL and words and words[0] == NONE else words


async def hold(referee: Referee, group: Sequence[str]) -> dict[str, str | None]:
    """Let agents who are asked at once write their memory and call tools.

    Return what each is yet to be shown with the question for its reply; None if it was shown the arena's view.
    """
    views: dict[str, str | None] = {agent: referee.arena.view(agent) for agent in group}
    if referee.world.notes:
        await _write(referee, views)
    box = referee.world.box
    left = {agent: calls for agent in group if (calls := box.calls(agent))} if box.configs else {}
    while left:
        asked = {agent: _offer(box, calls, views[agent]) for agent, calls in left.items()}
        for agent, words in (await referee.ask(asked)).items():
            views[agent] = None
            if words:
                left[agent][words[0]] -= 1
            if not words or not any(left[agent].values()):
                del left[agent]
    return views


async def _write(referee: Referee, views: dict[str, str | None]) -> None:
    """Let those write their memory who do so themselves: before they see what is new, or after."""
    world = referee.world
    questions = {}
    for agent, view in views.items():
        spec = world.notes.get(agent)
        if spec is None:
            continue
        if isinstance(world.scenario.memory[agent], State):
            questions[agent] = Question(spec, view or "", aside=Kind.NOTE)
            views[agent] = None
        elif agent in referee.spoke:  # before that there is nothing to remember
            questions[agent] = Question(spec, WRITE, aside=Kind.NOTE, again=True)
    if questions:
        await referee.ask(questions)


def _offer(box: Toolbox, calls: Mapping[str, int], view: str | None) -> Question:
    spec = box.spec(name for name, left in calls.items() if left)
    return Question(spec, MORE if view is None else view, aside=Kind.CALL, again=view is None)


def last(spec: ReplySpec, view: str | None) -> Question:
    """Return the question for the arena's reply."""
    return Question(spec, GO if view is None else view, again=view is None)
