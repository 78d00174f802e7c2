"""The critic from scratch: a small causal transformer over log tokens with one value head per agent."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2Model
from typing_extensions import override

from marl.critic.critic import Critic, value_head
from marl.critic.log_reader import LogReader, Scope
from marl.critic.reading import Reading
from marl.critic.vocabulary import Vocabulary
from marl.models.gpt2 import states_at
from marl.models.tiny import level, seeded, shape


class TinyNetwork(nn.Module):
    """V_i = w_i . h + b_i, with h the causal model's last hidden state at a point."""

    def __init__(self, trunk: GPT2Model, agents: int) -> None:
        super().__init__()
        self.trunk: nn.Module = trunk
        self.head = value_head(trunk.config.n_embd, agents)

    @override
    def forward(self, reading: Reading, autocast: bool = False) -> Tensor:
        states = states_of(self.trunk, reading, autocast).to(self.head.weight.dtype)
        values: Tensor = self.head(states).gather(-1, reading.agent[:, None]).squeeze(-1)
        return values


def log_trunk(tokens: int, *, width: int, layers: int, heads: int, context: int, seed: int) -> GPT2Model:
    """Return a causal transformer over so many token ids; its weights depend on `seed` alone."""
    config = GPT2Config(
        vocab_size=tokens, bos_token_id=None, eos_token_id=None, **shape(width, layers, heads, context, init=0.1)
    )
    trunk: GPT2Model = seeded(lambda: GPT2Model(config), seed)
    level(trunk)
    return trunk


def states_of(trunk: nn.Module, reading: Reading, autocast: bool) -> Tensor:
    """Return the trunk's last hidden states [P, d] at the points of a reading; every token is read once."""
    ids = reading.ids
    at = torch.zeros_like(ids, dtype=torch.bool)  # [R, T] tokens whose state is wanted
    at[reading.row, reading.column] = True
    index = at.flatten().cumsum(0).view_as(at)[reading.row, reading.column] - 1  # [P] of each point among these
    with torch.autocast(ids.device.type, torch.bfloat16, enabled=autocast):
        return states_at(trunk, ids, at)[index]


def tiny_critic(
    agents: Sequence[str],
    words: Sequence[str],
    *,
    scope: Scope,
    width: int,
    layers: int,
    heads: int,
    context: int,
    seed: int,
    inside: bool = False,
    buckets: int = 0,
) -> Critic:
    """Make a critic from scratch; `inside`: with values within replies, `buckets`: see `Vocabulary`."""
    vocabulary = Vocabulary(agents, words, buckets)
    reader = LogReader(agents, vocabulary.encode, scope=scope, context=context, inside=inside)
    trunk = log_trunk(len(vocabulary), width=width, layers=layers, heads=heads, context=context, seed=seed)
    return Critic(reader, TinyNetwork(trunk, len(agents)))
