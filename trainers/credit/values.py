"""Critic values of an update: their scale, token advantages, the value loss, and health metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marl.credit.arrays import Array, Credit, EpisodeArrays, decided
from marl.critic.critic import Critic
from marl.critic.reading import Reading, inside, table
from marl.episode import Episode
from trainers.losses import calibration, explained_variance, value_loss

Forward = tuple[Reading, Tensor]
"""Points at which there are values, and the critic's output at them, with gradients."""
DEAD_AFTER: Final = 20
"""Updates in a row without explained variance after which the critic is reported dead."""


class Scale:
    """Running mean and deviation of the targets: the critic's output x stands for V = mean + deviation x.

    mean and mean of squares are exponential averages with decay beta, without bias at the start (MAPPO's value
    normalisation, Yu et al. 2022). Switched off, V = x.
    """

    def __init__(self, on: bool, beta: float = 0.99) -> None:
        self.on = on
        self.beta = beta
        self.sums = [0.0, 0.0, 0.0]  # of weights, targets, squared targets

    @property
    def mean(self) -> float:
        """The mean of the targets."""
        return self.sums[1] / self.sums[0] if self.sums[0] else 0.0

    @property
    def deviation(self) -> float:
        """Their standard deviation, at least 0.01."""
        if not self.sums[0]:
            return 1.0
        return float(max(self.sums[2] / self.sums[0] - self.mean**2, 1e-4) ** 0.5)

    def observe(self, targets: Tensor) -> None:
        """Take in the targets of an update."""
        if self.on and len(targets):
            new = (1.0, float(targets.mean()), float(targets.square().mean()))
            self.sums = [self.beta * old + (1 - self.beta) * value for old, value in zip(self.sums, new, strict=True)]

    def values(self, output: Array, valid: NDArray[np.bool_]) -> Array:
        """Return the values of outputs, 0 where there is none."""
        return np.where(valid, self.mean + self.deviation * output, 0.0) if self.on else output

    def outputs(self, targets: Tensor) -> Tensor:
        """Normalise targets: return the outputs x whose values V are the targets."""
        return (targets - self.mean) / self.deviation if self.on else targets


def read(
    critic: Critic, episodes: Sequence[Episode], shape: tuple[int, int, int], scale: Scale
) -> tuple[Array, Forward]:
    """Compute V [E, K + 1, N], 0 where there is no value; and the forward pass it came from."""
    forward = critic.predict(episodes)
    valid = table(forward[0], torch.ones_like(forward[1]), *shape) > 0
    return scale.values(table(*forward, *shape), valid), forward


def by_token(
    forward: Forward, credit: Credit, arrays: EpisodeArrays, episodes: Sequence[Episode], scale: Scale
) -> Array:
    """Return A [E, K, J] of the tokens of replies: the baseline of a token has read the words of the reply before it.

    A_kj = target_k - V(log until the j-th word of reply k) = A_k + V_k - V_kj, which is the generalised advantage over
    tokens with a lambda of 1 within replies; the first token has A_k. NaN behind the end of a reply.
    """
    output = inside(*forward, *credit.advantage.shape)
    target = decided(credit.target, arrays.actor)[..., None]
    advantage = target - (scale.mean + scale.deviation * output if scale.on else output)
    advantage = np.where(np.isnan(advantage), credit.advantage[..., None], advantage)  # first and altered words
    lengths = np.zeros(credit.advantage.shape)
    for e, episode in enumerate(episodes):
        lengths[e, : len(episode.turns)] = [len(turn.sample.tokens) for turn in episode.turns]
    valid = np.arange(advantage.shape[-1]) < np.maximum(lengths, 1)[..., None]
    return np.where(valid & ~np.isnan(credit.advantage)[..., None], advantage, np.nan)


def points(forward: Forward, target: Array) -> tuple[Tensor, Tensor]:
    """Return the critic's outputs and the targets [P] at the points that have a target [E, K, N]."""
    reading, output = forward
    wanted = torch.from_numpy(target).float().to(reading.ids.device)
    goal = wanted[reading.episode, reading.slot.clamp(max=wanted.shape[1] - 1), reading.agent]
    keep = (reading.slot < wanted.shape[1]) & ~goal.isnan()
    return output[keep], goal[keep]


def loss(output: Tensor, goal: Tensor, scale: Scale) -> Tensor:
    """Return L_V = 1/(2P) sum_p (x_p - x(target_p))^2."""
    return value_loss(output, scale.outputs(goal)) / max(len(goal), 1)


def health(output: Tensor, goal: Tensor, scale: Scale) -> dict[str, float]:
    """Return explained variance and calibration of the values."""
    values = scale.mean + scale.deviation * output.detach() if scale.on else output.detach()
    return {"explained_variance": explained_variance(values, goal), "calibration": calibration(values, goal)}


class Alarm:
    """Counts updates in a row in which the critic explained nothing though there was something to explain."""

    def __init__(self) -> None:
        self.silent = 0

    def observe(self, explained: float) -> bool:
        """Count an update; return whether the critic is dead by now."""
        self.silent = 0 if explained > 0 else self.silent + 1
        return self.dead

    @property
    def dead(self) -> bool:
        """Whether the critic has explained nothing for too long."""
        return self.silent >= DEAD_AFTER
