"""The weight of the entropy bonus, steered towards a target that falls over a run (after SAC, Haarnoja et al. 2018).

    c <- c exp(gain (target - H / H_max)),    target falls linearly to 0

With a fixed weight some seeds drown in entropy before the agents understand anything, and others settle for a code that
lumps meanings together: the same run needs little of it while it is still uniform, more once replies depend on
something, and none at the end.
"""

from __future__ import annotations

import math
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

LEAST: Final = 1e-2


class EntropyConfig(BaseModel):
    """How random replies should be, as a share of the most random the reply specs allow."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: float = Field(default=0.01, ge=0, description="weight of the mean entropy per token, at the start")
    target: float = Field(default=0.4, ge=0, le=1, description="share aimed at at first")
    updates: int = Field(default=600, ge=1, description="updates over which the target falls to 0")
    gain: float = Field(default=0.2, ge=0, description="how fast the weight follows the target; 0 keeps it fixed")
    most: float = Field(default=0.1, ge=0, description="the largest weight")

    def follow(self, weight: float, entropy: float, most_entropy: float, update: int) -> float:
        """Return the weight after an update in which the mean entropy was `entropy` of at most `most_entropy` nats."""
        if self.gain == 0 or most_entropy <= 0:
            return weight
        target = self.target * max(0.0, 1 - update / self.updates)
        moved = weight * math.exp(self.gain * (target - entropy / most_entropy))
        return min(max(moved, LEAST), self.most)
