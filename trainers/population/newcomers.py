"""Population turnover: periodically reset one policy to fresh weights.

The others must teach the newcomer, so a language that is easy to learn lasts (Cogswell et al. 2019; Li & Bowling 2019).
The policies take turns, the first one first.
"""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field

from marl.errors import UserError
from marl.models.language_model import LanguageModel
from protocols.draws import key
from trainers.trainer import Metrics, Trainer


class NewcomersConfig(BaseModel):
    """Turnover settings: the period, and the policies that take turns."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    every: int = Field(ge=1, description="updates between two newcomers")
    policies: tuple[str, ...] = Field(default=(), description="which policies are replaced in turn; all by default")


class Newcomers:
    """Population turnover: resets policies to fresh weights, and clears the state of their optimizers.

    Args:
        config: period and policies.
        seed: the run's.
        trainer: holds the policies.
        make: builds a policy's initial model from a seed.
    """

    def __init__(
        self, config: NewcomersConfig, seed: int, trainer: Trainer, make: Callable[[int], LanguageModel]
    ) -> None:
        if unknown := [name for name in config.policies if name not in trainer.policies]:
            names = ", ".join(trainer.policies)
            raise UserError(f"newcomers.policies: there is no policy {unknown[0]!r}; there are {names}")
        self.config, self.seed, self.trainer, self.make = config, seed, trainer, make
        self.names = config.policies or tuple(trainer.policies)

    def arrive(self, version: int) -> Metrics:
        """Reset the next policy if it is due after this update; return the number of newcomers so far."""
        count, rest = divmod(version, self.config.every)
        if count and not rest:
            name = self.names[(count - 1) % len(self.names)]
            newcomer = self.make(key(self.seed, "newcomer", version) >> 1)
            self.trainer.policies[name].model.load_state_dict(newcomer.model.state_dict())
            if optimizer := self.trainer.optimizers.get(name):
                optimizer.state.clear()
        return {"newcomers": float(count)}
