"""Policy played by a chat model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

from typing_extensions import override

from arenas.spec import ReplySpec
from marl.context.chat import instruction, messages
from marl.context.transcript import Transcript
from marl.episode import Sample
from marl.policy.base import TextPolicy
from marl.policy.openai_client import Endpoint
from protocols.draws import key
from protocols.realtime import outside


class EndpointPolicy(TextPolicy):
    """Policy that asks an endpoint's model. `rules` is its system prompt: the arena and its tools."""

    def __init__(self, endpoint: Endpoint, rules: str) -> None:
        self.endpoint = endpoint
        self.rules = rules
        self.name = f"openai:{endpoint.model}"

    @override
    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        conversation = messages(self.rules, transcript.heard, transcript.answers)
        temperature = 0.0 if greedy else self.endpoint.settings.temperature
        total: dict[str, float] = {}
        text = ""
        for attempt in range(2):  # a reply that is not legal is asked for once more, with the reason
            raw, usage = await outside(self.endpoint.chat(conversation, key(seed, attempt), temperature))
            total = {name: total.get(name, 0) + amount for name, amount in usage.items()}
            text = fit(raw, spec)
            if spec.parse(text) is not None:
                break
            again = f"That is not a legal reply. {instruction(spec)}"
            conversation = [*conversation, {"role": "assistant", "content": raw}, {"role": "user", "content": again}]
        transcript.answered(text)
        return Sample(text, usage=total)


def fit(text: str, spec: ReplySpec) -> str:
    """Return a model's text as one line; match the spec's words without regard to quotes, case and final stops."""
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
