"""Chat transcripts: an agent's view of the log as a conversation, for models with a chat template.

    system      You are negotiator_1. <rules>
    user        negotiator_0: i want the books
                book 1 worth 4 ... speak
                Now speak to the others: one short line, or nothing.
    assistant   the reply that the agent sampled

Messages and views since the last reply form one user turn, which no content can leave (marl/context/turn.py). Token ids
are only appended: sampled ids stay as they were drawn. If a template renders earlier turns in another way than before
(some leave out old thoughts), the transcript restarts with the whole conversation as the template renders it now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from typing_extensions import override

from arenas.spec import PUBLIC, ReplySpec, from_wire
from marl.context import turn
from marl.context.chat_template import Message, Template
from marl.context.prompts import as_text
from marl.context.transcript import Transcript
from protocols.envelope import EVERYONE, Envelope, Kind


def instruction(spec: ReplySpec) -> str:
    """Return one sentence on the form of the reply."""
    several = len(spec.channels) > 1
    or_nothing = ", or nothing" if spec.least == 0 else ""
    if spec.schema:
        return f"Answer with JSON of this schema, and nothing else{or_nothing}: {spec.schema}"
    if spec.pattern:
        return f"Answer with one line that matches the regular expression {spec.pattern}{or_nothing}."
    if spec.free:
        verb = "Now speak to the others" if spec.kind == "say" else "Now write your reply"
        where = f": the name of a channel ({', '.join(spec.channels)}), then" if several else ":"
        return f"{verb}{where} one short line{or_nothing}."
    if len(spec.steps) == 1 and spec.least:
        return f"Answer with one of: {', '.join(spec.steps[0])}."
    if len(set(spec.steps)) == 1:
        count = f"{spec.least} to {len(spec.steps)}" if spec.least != len(spec.steps) else str(len(spec.steps))
        return f"Answer with {count} of these words: {', '.join(spec.steps[0])}{or_nothing}."
    places = "; ".join(f"{place}. {' or '.join(step)}" for place, step in enumerate(spec.steps, 1))
    return f"Answer with {len(spec.steps)} words in this order, and only these: {places}{or_nothing}."


class Dialogue:
    """An agent's view of the log as chat messages. Envelopes gather until the agent is asked."""

    def __init__(self, rules: str = "") -> None:
        self.rules = rules
        self.messages: list[Message] = []
        self.open = False
        """Whether the last user turn has no reply yet."""
        self._lines: list[str] = []
        self._spec: ReplySpec | None = None
        self._instruction = ""
        self._seat = ""

    def hear(self, envelope: Envelope) -> None:
        """Add an envelope that the agent received."""
        envelope = as_text(envelope)
        if envelope.kind is Kind.SAY:
            channel = "" if envelope.to in (EVERYONE, PUBLIC) else envelope.to
            self._lines.append(turn.message(envelope.sender, channel, envelope.body))
        elif envelope.kind is Kind.VIEW:
            self._seat = envelope.to
            self._spec = from_wire(dict(envelope.data["reply"])) if "reply" in envelope.data else None
            if envelope.body:
                self._lines.append(turn.view(envelope.body))

    def ask(self) -> None:
        """Append the user turn: envelopes since the last reply, and the form of the reply if that has changed."""
        if self.open:  # the last reply missed its deadline
            self.answered("")
        if not self.messages:
            self.messages.append({"role": "system", "content": f"You are {self._seat}. {self.rules}".strip()})
        how = instruction(self._spec) if self._spec else ""
        if how != self._instruction:
            self._lines.append(how)
        content = "\n".join(filter(None, self._lines)) or "Your turn."
        self.messages.append({"role": "user", "content": content})
        self._instruction, self._lines, self.open = how, [], True

    def answered(self, text: str) -> None:
        """Append the reply."""
        self.messages.append({"role": "assistant", "content": text})
        self.open = False


def messages(rules: str, heard: Sequence[Envelope], answers: Iterable[tuple[int, str]]) -> list[Message]:
    """Return a view as chat messages that end with a user turn; `answers` are (envelopes before it, reply)."""
    dialogue = Dialogue(rules)
    replies = dict(answers)
    for number, envelope in enumerate(heard, 1):
        dialogue.hear(envelope)
        if number in replies:
            dialogue.ask()
            dialogue.answered(replies[number])
    dialogue.ask()
    return dialogue.messages


class ChatTranscript(Transcript):
    """Transcript of one agent and episode as a chat. `text` is the decoded `ids`."""

    __slots__ = ("about", "dialogue", "template", "text")

    def __init__(self, template: Template, about: Callable[[str], str]) -> None:
        super().__init__()
        self.template, self.about = template, about
        self.dialogue = Dialogue()
        self.text = ""

    @override
    def hear(self, envelope: Envelope) -> None:
        if envelope.kind is Kind.VIEW and not self.dialogue.rules:
            self.dialogue.rules = self.about(envelope.to)
        self.heard.append(envelope)
        self.dialogue.hear(envelope)

    @override
    def ask(self) -> None:
        template = self.template
        if self.dialogue.open:
            self.replied((template.end,))
        self.dialogue.ask()
        shown = template.render(self.dialogue.messages)
        # Some templates render earlier turns differently once the conversation has gone on.
        if not shown.startswith(self.text):
            self.restart([])
            self.text = ""
        self.ids += template.encode_turn(shown[len(self.text) :]) if self.text else template.encode(shown)
        self.text = shown

    @override
    def take_back(self, length: int) -> None:
        if len(self.ids) > length:
            last = self.dialogue.messages.pop()
            assert last["role"] == "assistant"
            self.dialogue.open = True
            self.text = self.text[: len(self.text) - len(self.template.decode(self.ids[length:]))]
        super().take_back(length)

    @override
    def answered(self, text: str) -> None:
        super().answered(text)
        # A reply that was not sampled here is encoded as if it had been.
        if self.dialogue.open:
            self.replied((*self.template.encode_reply(self.template.clean(text)), self.template.end))

    @override
    def replied(self, tokens: Sequence[int]) -> None:
        if not tokens:
            return
        end = self.template.end
        own = tokens[:-1] if tokens[-1] == end else tokens
        self.ids += [*own, end]
        said = self.template.decode(own)
        self.dialogue.answered(said)
        self.text += said + self.template.ending
