"""The weight of the entropy bonus: the more settled replies are, the more a further loss of entropy costs.

    c = random + (settled - random) (1 - H / H_max)

With random = 0 the bonus is the gradient of (settled H_max / 2) (1 - H / H_max)^2, a penalty on lost entropy. Nothing
holds agents at the uniform start, where replies depend on nothing yet and any fixed weight of use later may keep it so;
and a code that lumps meanings together is shaken until it falls apart, which a small fixed weight does not do.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class EntropyConfig(BaseModel):
    """Two equal numbers are a fixed weight; zeros are no bonus at all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    random: float = Field(default=0.0, ge=0, description="weight while replies are as random as their specs allow")
    settled: float = Field(default=0.25, ge=0, description="weight once they are always the same")

    def weight(self, share: float) -> float:
        """Return c where the mean entropy per token is `share` of the largest possible one."""
        return self.random + (self.settled - self.random) * (1 - share)
