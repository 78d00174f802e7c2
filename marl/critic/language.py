"""A critic on a frozen pretrained model: it reads the log as text, and only the head learns.

    V_i = w_i . tanh(W n(h))        n: to mean 0 and deviation 1

h is the model's last hidden state at the last token before the decision, without any adapter. What words mean it knows
beforehand, where a critic from scratch has them to learn from returns alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor, nn

from marl.context.transcript import BOS
from marl.critic.critic import MARKS, Critic, Reading, Scope
from marl.models.base_model import Base
from marl.models.tiny import seeded

ROWS: Final = 8
"""Logs that are read at a time."""


class LanguageCritic(Critic):
    """A critic whose trunk is a base model, which it neither trains, saves nor moves; `width` is that of its head."""

    def __init__(self, agents: Sequence[str], base: Base, *, scope: Scope, width: int, context: int, seed: int) -> None:
        nn.Module.__init__(self)
        self.agents = tuple(agents)
        self.scope = scope
        self.context = context
        self.encode = lru_cache(maxsize=1 << 14)(self._encode)
        self.inside = False
        self.autocast = False
        self._base = (base,)  # in a tuple it is no part of this module
        self._marks = frozenset((BOS, *MARKS.values()))
        size = base.model.config.hidden_size
        self.norm = nn.LayerNorm(size, elementwise_affine=False)
        self.inner = seeded(lambda: nn.Linear(size, width), seed)
        self.head = nn.Linear(width, len(self.agents))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def _encode(self, text: str, said: bool = False) -> Sequence[int]:
        """Return the ids of a piece of log text. What is said has no special tokens, and none of the critic's marks."""
        base = self._base[0]
        if text == BOS:
            begin = base.tokenizer.bos_token_id
            return [base.tokenizer.eos_token_id if begin is None else begin]
        words = (word for word in text.split() if not said or word not in self._marks)
        cleaned = " ".join(base.template.clean(" ".join(words)).split())
        mark = not said and text.startswith("<")
        return list(base.template.encode(f"\n{cleaned}" if mark else f" {cleaned}"))

    def states(self, reading: Reading) -> Tensor:
        """Return what the head reads [P, width] of the base model's last hidden states at the points of a reading."""
        base = self._base[0]
        found = torch.empty(len(reading.row), base.model.config.hidden_size, device=reading.ids.device)
        with torch.no_grad(), base.autocast():
            for low in range(0, len(reading.ids), ROWS):
                at = (reading.row >= low) & (reading.row < low + ROWS)
                ids = reading.ids[low : low + ROWS, : int(reading.column[at].max()) + 1]
                hidden = base.states(ids, [None] * len(ids))
                found[at] = hidden[reading.row[at] - low, reading.column[at]].float()
        read: Tensor = self.inner(self.norm(found)).tanh()
        return read
