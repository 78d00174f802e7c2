"""Newcomers: every so often one policy forgets all, as if somebody had left and another one had come.

Whoever stays must teach whoever comes, so a language that is easy to learn lasts (Cogswell et al. 2019; Li & Bowling
2019). The policies take turns, the first one first.
"""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field

from marl.errors import UserError
from marl.models.language_model import LanguageModel
from protocols.draws import key
from trainers.trainer import Metrics, Trainer


class NewcomersConfig(BaseModel):
    """When somebody comes, and for whom."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    every: int = Field(ge=1, description="updates between two newcomers")
    policies: tuple[str, ...] = Field(default=(), description="which policies are replaced in turn; all unless given")


class Newcomers:
    """Replaces the weights of policies by new ones, and forgets what their optimizers remember.

    Args:
        config: when and whom.
        seed: the run's.
        trainer: it has the policies.
        make: makes a policy's initial model from a seed.
    """

    def __init__(
        self, config: NewcomersConfig, seed: int, trainer: Trainer, make: Callable[[int], LanguageModel]
    ) -> None:
        if strange := [name for name in config.policies if name not in trainer.policies]:
            known = ", ".join(trainer.policies)
            raise UserError(f"newcomers.policies: there is no policy {strange[0]!r}; there are {known}")
        self.config, self.seed, self.trainer, self.make = config, seed, trainer, make
        self.names = config.policies or tuple(trainer.policies)

    def arrive(self, version: int) -> Metrics:
        """Let somebody come, if it is time after this update; return how many have come so far."""
        came, rest = divmod(version, self.config.every)
        if came and not rest:
            name = self.names[(came - 1) % len(self.names)]
            newcomer = self.make(key(self.seed, "newcomer", version) >> 1)
            self.trainer.policies[name].model.load_state_dict(newcomer.model.state_dict())
            if optimizer := self.trainer.optimizers.get(name):
                optimizer.state.clear()
        return {"newcomers": float(came)}
