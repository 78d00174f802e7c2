"""Log -> chat: what an agent perceives, as the turns of a conversation, for models with a chat template.

    system      You are negotiator_1. <rules>
    user        negotiator_0: i want the books
                book 1 worth 4 ... speak
                Say anything in one line of at most 200 characters, or nothing.
    assistant   what the agent sampled

What others say and what the arena shows since the last reply is one user turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from arenas.spec import PUBLIC, ReplySpec, from_wire
from protocols.envelope import EVERYONE, Envelope, Kind

Message = dict[str, str]
"""`role` (system, user, assistant) and `content`."""


def instruction(spec: ReplySpec) -> str:
    """Return one sentence that tells a model in which form to reply."""
    several = len(spec.channels) > 1
    or_nothing = ", or nothing" if spec.least == 0 else ""
    if spec.free:
        where = f"Begin with the name of a channel ({', '.join(spec.channels)}), then say" if several else "Say"
        verb = where if spec.kind == "say" else "Write"
        return f"{verb} anything in one line of at most {spec.free} characters{or_nothing}."
    if len(spec.steps) == 1 and spec.least:
        return f"Answer with one of: {', '.join(spec.steps[0])}."
    if len(set(spec.steps)) == 1:
        count = f"{spec.least} to {len(spec.steps)}" if spec.least != len(spec.steps) else str(len(spec.steps))
        return f"Answer with {count} of these words: {', '.join(spec.steps[0])}{or_nothing}."
    places = "; ".join(f"{place}. {' or '.join(step)}" for place, step in enumerate(spec.steps, 1))
    return f"Answer with {len(spec.steps)} words in this order, and only these: {places}{or_nothing}."


class Dialogue:
    """A view of the log as messages. What is heard gathers until the agent is asked."""

    def __init__(self, rules: str = "") -> None:
        self.rules = rules
        self.messages: list[Message] = []
        self.open = False
        """Whether the last user turn still waits for its reply."""
        self._lines: list[str] = []
        self._spec: ReplySpec | None = None
        self._told = ""
        self._seat = ""

    def hear(self, envelope: Envelope) -> None:
        """Take in what reached the agent."""
        if envelope.kind is Kind.SAY:
            where = "" if envelope.to in (EVERYONE, PUBLIC) else f" ({envelope.to})"
            self._lines.append(f"{envelope.sender}{where}: {envelope.body}")
        elif envelope.kind is Kind.VIEW:
            self._seat = envelope.to
            self._spec = from_wire(dict(envelope.data["reply"])) if "reply" in envelope.data else None
            if envelope.body:
                self._lines.append(envelope.body)

    def ask(self) -> None:
        """Close the user turn: what came since the last reply, and how to reply unless that is as it was before."""
        if self.open:  # the last reply never came
            self.answered("")
        if not self.messages:
            self.messages.append({"role": "system", "content": f"You are {self._seat}. {self.rules}".strip()})
        how = instruction(self._spec) if self._spec else ""
        lines = [*self._lines, *([how] if how != self._told else [])]
        self._told, self._lines, self.open = how, [], True
        self.messages.append({"role": "user", "content": "\n".join(filter(None, lines)) or "Your turn."})

    def answered(self, text: str) -> None:
        """Note the reply."""
        self.messages.append({"role": "assistant", "content": text})
        self.open = False


def messages(rules: str, heard: Sequence[Envelope], answers: Iterable[tuple[int, str]]) -> list[Message]:
    """Return a view as messages, the last of them a user turn; `answers` are (envelopes heard before it, the reply)."""
    dialogue = Dialogue(rules)
    replies = dict(answers)
    for number, envelope in enumerate(heard, 1):
        dialogue.hear(envelope)
        if number in replies:
            dialogue.ask()
            dialogue.answered(replies[number])
    dialogue.ask()
    return dialogue.messages
