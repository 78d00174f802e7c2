"""Control words in prompts: call a tool, write the memory, reply."""

from __future__ import annotations

from typing import Final

from arenas.spec import from_wire
from marl.tools.toolbox import NONE
from protocols.envelope import EVERYONE, Envelope, Kind

MORE: Final = "more"
"""Shown to an agent that may call a tool again."""
GO: Final = "reply"
"""Shown to an agent that saw the arena's view before, in this stage: now it replies to the arena."""
WRITE: Final = "memory"
"""Shown to an agent that is to rewrite its memory."""
WORDS: Final = (MORE, GO, WRITE)


def as_text(envelope: Envelope) -> Envelope:
    """Return an envelope as language models read it: tool results as messages, control words as sentences."""
    if envelope.kind is Kind.RESULT:
        return envelope._replace(kind=Kind.SAY, to=EVERYONE)
    data = envelope.data
    if envelope.kind is not Kind.VIEW or not ("aside" in data or "again" in data):
        return envelope
    if "aside" not in data:
        return envelope._replace(body="Now reply.")
    if data["aside"] == Kind.NOTE.value:
        how = "Write your memory anew, in one line: of all that came before, it is what you will have."
        return envelope._replace(body=how if "again" in data else f"{envelope.body}\n{how}")
    names = from_wire(dict(data["reply"])).channels[:-1]
    how = (
        f"You may first use {' or '.join(names)}: write its name and its arguments, and nothing else. Or write {NONE}."
    )
    body = how if "again" in data else f"{envelope.body}\n{how}"
    return envelope._replace(body=body, data={k: v for k, v in data.items() if k != "reply"})
