"""The weight of the entropy bonus, steered towards a target that falls over a run (after SAC, Haarnoja et al. 2018).

    c <- c exp(gain (target left - H / H_max)),    between least * left and most
    left = 1 - update / updates, and 0 from then on

Each policy has its own weight. With one fixed weight some seeds drown in entropy before replies depend on anything, and
in others one agent makes up its mind long before the other and the code lumps meanings together.
"""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, Field


class EntropyConfig(BaseModel):
    """How random replies should be, as a share of the most random that the reply specs allow."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: float = Field(
        default=0.05,
        ge=0,
        description="weight of the mean entropy per token, at the start; for none at all set it and gain to 0",
    )
    target: float = Field(default=0.5, ge=0, le=1, description="share aimed at in the beginning")
    updates: int = Field(default=250, ge=1, description="updates over which the target falls to 0")
    gain: float = Field(default=0.3, ge=0, description="how fast the weight follows the target; 0 keeps it fixed")
    least: float = Field(default=0.02, gt=0, description="the smallest weight while the target is above 0")
    most: float = Field(default=0.3, gt=0, description="the largest weight")

    def follow(self, weight: float, entropy: float, most_entropy: float, update: int) -> float:
        """Return the weight after update `update`, in which the mean entropy was `entropy` of `most_entropy` nats."""
        if self.gain == 0 or most_entropy <= 0:
            return weight
        left = max(0.0, 1 - update / self.updates)
        moved = weight * math.exp(self.gain * (self.target * left - entropy / most_entropy))
        return min(max(moved, self.least * left), self.most)
