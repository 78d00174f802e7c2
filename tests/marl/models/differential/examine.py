"""Compare what Sabir samples and scores with a model's own forward pass."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from arenas.spec import choose, say
from marl.episode import Sample
from marl.inference.request import GenerationRequest
from marl.inference.server import ChatServer
from marl.models.chat_model import ChatModel
from marl.models.lora_base import Base
from marl.policy.config import HfPolicy
from tests.marl import chats

SPECS = (choose(("yes", "no", "nobody")), say(("red", "blue"), 2, 0, free=60))
CONTEXTS = ("a", "Two negotiators divide books.", "b c", "x")
TURNS = 2


class Outcome(NamedTuple):
    """How a model is read, and how far Sabir is from the model itself in nats (logits: relative to the largest)."""

    path: str
    logits: float
    sampled: float
    scored: float
    tokens: int


def chat_model(model: Any) -> ChatModel:
    base = Base(model, chats.tokenizer(), "tiny", torch.float32)
    settings = HfPolicy(hf="tiny", dtype="float32", talk=10)
    return ChatModel(base, None, lambda seat: "Be brief.", settings).eval()


@torch.no_grad()
def examine(model: Any) -> Outcome:
    """Sample several turns in one batch, greedily and not; compare every log-probability with the model's own."""
    lm = chat_model(model)
    server = ChatServer(lm, "m")
    ids = torch.randint(5, len(lm.tokenizer), (2, 40), generator=torch.Generator().manual_seed(0))
    own = torch.cat([model(input_ids=row[None], use_cache=False).logits.float() for row in ids])
    logits = float((lm.logits(lm.states(ids)) - own).abs().max() / own.abs().max())
    sampled = scored = 0.0
    tokens = 0
    transcripts = [server.open() for _ in CONTEXTS]
    for turn in range(TURNS):
        drawn: dict[int, Sample] = {}
        prompts = []
        for number, (transcript, text) in enumerate(zip(transcripts, CONTEXTS, strict=True)):
            transcript.dialogue.messages.append({"role": "user" if turn else "system", "content": text})  # type: ignore[attr-defined]
            transcript.ask()
            prompts.append(list(transcript.ids))
            spec = SPECS[(number + turn) % 2]

            def done(sample: Sample | Exception, place: int = number, drawn: dict[int, Sample] = drawn) -> None:
                assert isinstance(sample, Sample), sample
                drawn[place] = sample

            server.engine.ask(lm, GenerationRequest(transcript, spec, 10 * turn + number, number == 3, done), 0)
        while server.engine.run():
            pass
        for number, prompt in enumerate(prompts):
            sample, spec = drawn[number], SPECS[(number + turn) % 2]
            row, rows = [*prompt, *sample.tokens], torch.tensor(lm.rows(spec, sample.tokens))
            right = truth(model, row, lm.masks[rows], len(prompt))
            sampled = max(sampled, apart(torch.tensor(sample.behavior_logprobs), right))
            trained = torch.arange(len(row))[None] >= len(prompt)
            scored = max(scored, apart(lm.score(torch.tensor([row]), trained, rows).logp, right))
            tokens += len(sample.tokens)
    return Outcome(server.engine.reading.path.value, logits, sampled, scored, tokens)


def truth(model: Any, row: list[int], allowed: Tensor, start: int) -> Tensor:
    """Return the log-probabilities of the tokens of a row from `start` on, by the model's own forward pass."""
    logits = model(input_ids=torch.tensor([row]), use_cache=False).logits[0, start - 1 : -1].float()
    logps = logits.masked_fill(~allowed, -torch.inf).log_softmax(-1)
    out: Tensor = logps.gather(1, torch.tensor(row[start:])[:, None])[:, 0]
    return out


def apart(one: Tensor, two: Tensor) -> float:
    """Return the largest difference; infinite where one is NaN."""
    return float((one - two).abs().max().nan_to_num(nan=float("inf")))
