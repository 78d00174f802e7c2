"""Entropy bonus: a weight per token that grows as the choice becomes deterministic.

    c_t = random + (settled - random) (1 - H_t / H_max)

With random = 0 the bonus c_t H_t has the gradient of -(settled H_max / 2) (1 - H_t / H_max)^2, a penalty on lost
entropy. While replies depend on nothing yet, this bonus does not hold them at random, as a fixed weight of useful size
may; and it destabilises a code that maps several meanings to one message, which a small fixed weight does not.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor


class EntropyConfig(BaseModel):
    """Weights of the entropy bonus: equal ones are a fixed weight, zeros no bonus."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    random: float = Field(default=0.0, ge=0, description="weight where a choice is as random as its spec allows")
    settled: float = Field(default=0.25, ge=0, description="weight where it is always the same")
    target: float | None = Field(
        default=None, gt=0, lt=1, description="share of the largest entropy at which the weights are steered to hold it"
    )
    halving: int | None = Field(default=None, ge=1, description="updates in which both weights fall to half")

    def weight(self, entropy: Tensor, most: Tensor, update: int = 0) -> Tensor:
        """Return c [N] for tokens of `entropy` [N] nats, where `most` [N] > 0 would be uniform choice."""
        share = 1.0 if self.halving is None else 0.5 ** (update / self.halving)
        return share * (self.random + (self.settled - self.random) * (1 - entropy / most))
