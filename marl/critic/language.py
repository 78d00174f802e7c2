"""A critic on a frozen pretrained model: it reads the log as text, and only the head learns.

    V_i = w_i . tanh(W n(h))        n: to mean 0 and deviation 1

h is the model's last hidden state at the last token before the decision, without any adapter. The pretrained model
knows what words mean, which a critic from scratch has to learn from returns alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from typing_extensions import override

from marl.context.transcript import BOS
from marl.critic.critic import Critic, value_head
from marl.critic.log_reader import LogReader, Scope
from marl.critic.reading import Reading
from marl.critic.vocabulary import MARKS
from marl.models.lora_base import Base
from marl.models.tiny import seeded

LOGS_PER_PASS: Final = 8
"""Logs that the base model reads at a time."""


class FrozenTrunk:
    """A base model as a reader of logs. It is no nn.Module, so a network that holds it does not train, save or move it.

    Args:
        base: the model; adapters on it are not used.
    """

    def __init__(self, base: Base) -> None:
        self.base = base
        self.width = int(base.model.config.hidden_size)
        self._marks = frozenset((BOS, *MARKS.values()))

    def encode(self, text: str, said: bool = False) -> Sequence[int]:
        """Return the ids of a piece of log text; from text that was `said` special tokens and marks are removed."""
        tokenizer, template = self.base.tokenizer, self.base.template
        if text == BOS:
            begin = tokenizer.bos_token_id
            return [tokenizer.eos_token_id if begin is None else begin]
        words = (word for word in text.split() if not said or word not in self._marks)
        cleaned = " ".join(template.clean(" ".join(words)).split())
        is_mark = not said and text.startswith("<")
        return list(template.encode(f"\n{cleaned}" if is_mark else f" {cleaned}"))

    def states(self, reading: Reading) -> Tensor:
        """Return the last hidden states [P, d] at the points of a reading, in float32 and without gradients."""
        out = torch.empty(len(reading.row), self.width, device=reading.ids.device)
        with torch.no_grad(), self.base.autocast():
            for low in range(0, len(reading.ids), LOGS_PER_PASS):
                at = (reading.row >= low) & (reading.row < low + LOGS_PER_PASS)
                ids = reading.ids[low : low + LOGS_PER_PASS, : int(reading.column[at].max()) + 1]
                hidden = self.base.states(ids, [None] * len(ids))  # [r, T, d]
                out[at] = hidden[reading.row[at] - low, reading.column[at]].float()
        return out


class LanguageNetwork(nn.Module):
    """A value head of one hidden layer, `width` wide, on a frozen model's states."""

    def __init__(self, trunk: FrozenTrunk, agents: int, width: int, seed: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.norm = nn.LayerNorm(trunk.width, elementwise_affine=False)
        self.inner = seeded(lambda: nn.Linear(trunk.width, width), seed)
        self.head = value_head(width, agents)

    @override
    def forward(self, reading: Reading, autocast: bool = False) -> Tensor:
        # The frozen trunk computes in its own dtype, with or without autocast.
        read = self.inner(self.norm(self.trunk.states(reading))).tanh()  # [P, width]
        values: Tensor = self.head(read).gather(-1, reading.agent[:, None]).squeeze(-1)
        return values


def language_critic(agents: Sequence[str], base: Base, *, scope: Scope, width: int, context: int, seed: int) -> Critic:
    """Make a critic whose trunk is a frozen base model; `width` is that of its head."""
    trunk = FrozenTrunk(base)
    reader = LogReader(agents, trunk.encode, scope=scope, context=context)
    return Critic(reader, LanguageNetwork(trunk, len(agents), width, seed))
