"""Turn request: what an agent is asked for, and what that costs it."""

from __future__ import annotations

from typing import Any, NamedTuple

from arenas.spec import ReplySpec, Words
from marl.tools.toolbox import NONE
from protocols.envelope import Kind


class TurnRequest(NamedTuple):
    """A request to one agent for one reply."""

    spec: ReplySpec
    view: str
    optional: bool = False
    """Whether the agent may stay silent without anybody hearing of it."""
    speaking_cost: float = 0.0
    silence_cost: float = 0.0
    aside: Kind | None = None
    """Kind of the reply (CALL or NOTE) if it is not for the arena."""
    again: bool = False
    """Whether `view` is only a control word, because the agent saw the arena's view earlier in the stage."""

    @property
    def data(self) -> dict[str, Any]:
        """Data of the envelope that carries the view."""
        data: dict[str, Any] = {"reply": self.spec.wire}
        if self.aside is not None:
            data["aside"] = self.aside.value
        if self.again:
            data["again"] = True
        return data

    def effective(self, words: Words | None) -> Words | None:
        """Return a parsed reply as it takes effect: to call the tool `none` is to say nothing."""
        return () if self.aside is Kind.CALL and words and words[0] == NONE else words
