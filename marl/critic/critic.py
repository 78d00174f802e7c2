"""The centralized critic: reads a log once and gives V_i for every agent at every decision.

A critic is a `LogReader`, which turns logs into tokens, and a network, which turns tokens into values: a causal
transformer from scratch (marl/critic/tiny.py), one with attention between neighbours (graph.py), or a head on a frozen
pretrained model (language.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from marl.critic.log_reader import LogReader
from marl.critic.reading import Reading
from marl.episode import Episode


class ValueNetwork(Protocol):
    """Interface of a critic's network, an nn.Module whose state_dict is the critic's checkpoint."""

    def forward(self, reading: Reading, autocast: bool = False) -> Tensor:
        """Return the values [P] at the points of a reading; `autocast`: a trunk that learns uses bfloat16."""


class Critic:
    """A log reader and a network.

    Args:
        reader: what the critic sees.
        network: a ValueNetwork; its weights are the critic's.
    """

    def __init__(self, reader: LogReader, network: nn.Module) -> None:
        self.reader, self.network = reader, network
        self.autocast = False
        """Whether a trunk that learns computes in bfloat16."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    def to(self, device: str) -> Critic:
        """Move the network, and return the critic."""
        self.network.to(device)
        return self

    def read(self, episodes: Sequence[Episode]) -> Reading:
        """Lay out what this critic sees of each episode, and where the values are."""
        return self.reader.read(episodes, self.device)

    def __call__(self, reading: Reading) -> Tensor:
        """Return the values [P] at the points of a reading, with gradients."""
        values: Tensor = self.network(reading, self.autocast)
        return values

    def predict(self, episodes: Sequence[Episode]) -> tuple[Reading, Tensor]:
        """Read episodes; return the points where values are, and the values [P]."""
        reading = self.read(episodes)
        return reading, self(reading)


def value_head(width: int, agents: int) -> nn.Linear:
    """Return a head with one value per agent that expects 0 everywhere at first."""
    head = nn.Linear(width, agents)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head
