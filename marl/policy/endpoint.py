"""Policy played by a chat model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from typing_extensions import override

from arenas.spec import ReplySpec
from marl.context.chat import instruction, messages
from marl.context.chat_template import Message
from marl.context.transcript import Transcript
from marl.episode import Finish, Sample
from marl.policy.base import TextPolicy
from marl.policy.endpoint_response import MAX_THOUGHT
from marl.policy.openai_client import Endpoint
from marl.policy.tool_call import plain_call, unfence
from protocols.draws import key
from protocols.realtime import outside

SILENCE: Final = "(You said nothing.)"


class EndpointPolicy(TextPolicy):
    """Policy that asks an endpoint's model. `rules` is its system prompt: the arena and its tools."""

    def __init__(self, endpoint: Endpoint, rules: str) -> None:
        self.endpoint = endpoint
        self.rules = rules
        self.name = f"openai:{endpoint.model}"

    @override
    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        conversation = sendable(messages(self.rules, transcript.heard, transcript.answers))
        temperature = 0.0 if greedy else self.endpoint.settings.temperature
        total: dict[str, float] = {}
        thoughts: list[str] = []
        text, cut = "", False
        for attempt in range(2):  # a reply that is not legal is asked for once more, with the reason
            raw, usage = await outside(self.endpoint.chat(conversation, key(seed, attempt), temperature))
            total = {name: total.get(name, 0) + amount for name, amount in usage.items()}
            thoughts.append(raw.thought)
            text, cut = fit(raw.text, spec), raw.cut
            if spec.parse(text) is not None and (text or not cut):
                break
            why = "Your reply was cut off." if cut else "That is not a legal reply."
            again = [
                {"role": "assistant", "content": raw.text},
                {"role": "user", "content": f"{why} {instruction(spec)}"},
            ]
            conversation = sendable([*conversation, *again])
        transcript.answered(text)
        finish = Finish.LENGTH if cut else Finish.STOP
        return Sample(text, finish=finish, usage=total, thought="\n".join(filter(None, thoughts))[:MAX_THOUGHT])


def sendable(conversation: Sequence[Message]) -> list[Message]:
    """Return a conversation as servers accept it: no message is empty, and every text can be encoded.

    A silent turn becomes a sentence in the user message that follows, so that roles still alternate.
    """
    sent: list[Message] = []
    silent = False
    for message in conversation:
        content = message["content"].encode("utf-8", "replace").decode()
        if message["role"] == "assistant" and not content.strip():
            silent = True
        elif silent and message["role"] == "user" and sent:
            sent[-1] = sent[-1] | {"content": f"{sent[-1]['content']}\n{SILENCE}\n{content}".rstrip()}
            silent = False
        else:
            sent.append(message | {"content": content if content.strip() else "Your turn."})
    return sent


def fit(text: str, spec: ReplySpec) -> str:
    """Return a model's text as one line; match the spec's words without regard to quotes, case and final stops.

    A code fence around the text is left out, and a native tool call becomes a line of free talk.
    """
    text = unfence(text)
    if spec.free and len(spec.channels) > 1:
        text = plain_call(text, spec.channels)
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if spec.parse(line) is not None:
        return line
    if spec.free:
        first, _, rest = line.partition(" ")
        channels = {name.casefold(): name for name in spec.channels if len(spec.channels) > 1}
        first = channels.get(first.strip("\"'`*.,:;!").casefold(), first)
        return f"{first} {rest}".strip()
    words = []
    for index, word in enumerate(line.split()[: len(spec.steps) + 1]):
        options = {option.casefold(): option for option in spec.steps[min(index, len(spec.steps) - 1)]}
        words.append(options.get(word.casefold(), options.get(word.strip("\"'`*.,:;!").casefold(), word)))
    return " ".join(words)
