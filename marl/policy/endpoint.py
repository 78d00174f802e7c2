"""EndpointPolicy: a seat played by a chat model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

from arenas.spec import ReplySpec
from marl.context.chat import instruction, messages
from marl.context.transcript import Transcript
from marl.episode import Sample
from marl.policy.base import TextPolicy
from marl.policy.openai_client import Endpoint
from protocols.draws import key
from protocols.realtime import outside


class Remote(TextPolicy):
    """A seat that an endpoint's model plays. `rules` is what it is told of the arena before anything else."""

    def __init__(self, endpoint: Endpoint, rules: str) -> None:
        self.endpoint = endpoint
        self.rules = rules
        self.name = f"openai:{endpoint.model}"

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        """Ask; once more, with the reason, if the reply is not a legal one. What is not then stays as it is."""
        conversation = messages(self.rules, transcript.heard, transcript.answers)
        temperature = 0.0 if greedy else self.endpoint.settings.temperature
        total: dict[str, float] = {}
        text = ""
        for attempt in range(2):
            said, usage = await outside(self.endpoint.chat(conversation, key(seed, attempt), temperature))
            total = {name: total.get(name, 0) + amount for name, amount in usage.items()}
            text = fitted(said, spec)
            if spec.parse(text) is not None:
                break
            again = f"That is not a legal reply. {instruction(spec)}"
            conversation = [*conversation, {"role": "assistant", "content": said}, {"role": "user", "content": again}]
        transcript.answered(text)
        return Sample(text, usage=total)


def fitted(text: str, spec: ReplySpec) -> str:
    """Return a model's text as one line; where words are given, without quotes, case and final stops that differ."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if spec.parse(line) is not None:
        return line
    if spec.free:
        first, _, rest = line.partition(" ")
        named = {name.casefold(): name for name in spec.channels if len(spec.channels) > 1}
        first = named.get(first.strip("\"'`*.,:;!").casefold(), first)
        return f"{first} {rest}".strip()
    words = []
    for place, word in enumerate(line.split()[: len(spec.steps) + 1]):
        known = {option.casefold(): option for option in spec.steps[min(place, len(spec.steps) - 1)]}
        words.append(known.get(word.casefold(), known.get(word.strip("\"'`*.,:;!").casefold(), word)))
    return " ".join(words)
