"""Prepacked linear weights: the same products, and never those of older weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from arenas.spec import choose
from marl.inference.server import ChatServer
from marl.models.lora_base import Base
from marl.models.packed_linear import Packed, packable, plain
from tests.marl import chats
from tests.marl.models.test_chat_model import answers, scored

CPU = torch.device("cpu")
SPEC = choose(("yes", "no", "nobody"))
needed = pytest.mark.skipif(not packable(CPU, torch.bfloat16), reason="this processor's oneDNN has no bfloat16")


@needed
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(4, 32), (2, 7, 32), (1, 1, 32), (600, 32)])
def test_products_are_those_of_linear_layers(bias: bool, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    matrices = [nn.Linear(32, size, bias=bias).bfloat16() for size in (32, 16, 16)]
    x, packed = torch.randn(shape, generator=generator).bfloat16(), Packed()
    with torch.no_grad():
        for one, other in zip(plain(x, matrices), packed(x, matrices), strict=True):
            torch.testing.assert_close(one, other, atol=1e-2, rtol=1e-2)
        for matrix in matrices:
            matrix.weight.zero_()
        assert any(bool(y.any()) for y in packed(x, matrices)), "prepacked once"


def test_only_where_it_is_sure_to_be_the_same() -> None:
    assert not packable(CPU, torch.float32)
    assert not packable(torch.device("cuda"), torch.bfloat16)


def test_what_is_sampled_is_by_the_weights_of_now() -> None:
    words = chats.tokenizer()
    lm = chats.chat(Base(chats.model(len(words)), words, "tiny", torch.bfloat16))  # kept in fp32, computed in bf16
    server = ChatServer(lm, "a")
    before: list[float] = []
    after: list[float] = []
    for logprobs in (before, after):
        (sample,) = answers(server, SPEC, ["red hat"])
        transcript = server.open()
        transcript.dialogue.messages.append({"role": "system", "content": "red hat"})  # type: ignore[attr-defined]
        transcript.ask()
        logp = scored(lm, list(transcript.ids), SPEC, sample.tokens)
        torch.testing.assert_close(torch.tensor(sample.behavior_logprobs), torch.tensor(logp), atol=0.1, rtol=0)
        logprobs += sample.behavior_logprobs
        ids = torch.tensor([[5, 9, 77, 30]])
        with lm.autocast():
            raised = lm.logits(lm.states(ids))[0, -1, 40]
        raised.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for weight in lm.model.parameters():
                weight -= 0.05 * weight.grad.sign()
        server.publish(server.version + 1)
    assert before != after


def test_scores_are_by_the_weights_of_now_even_before_they_are_published() -> None:
    """Agents that step one by one (HAPPO) weigh each other by what the steps before did."""
    lm = chats.adapted(chats.base(), "one")["one"]
    server = ChatServer(lm, "a")
    (sample,) = answers(server, SPEC, ["red hat"])
    context = [5, 9, 77, 30]
    before = scored(lm, context, SPEC, sample.tokens)
    with torch.no_grad():
        for weight in lm.base.parameters_of("one"):
            weight.mul_(3)
    assert scored(lm, context, SPEC, sample.tokens) != before
