"""Trainer: the base class of every algorithm, with optimizers, steps and checkpoints.

An algorithm is a subclass with one method, `update`, and a `Config` of the settings of its [algorithm] table.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from marl.critic.critic import Critic
from marl.episode import Episode
from marl.errors import UserError, plain_os_errors
from marl.models.language_model import LanguageModel
from marl.policy.base import Seats
from marl.rollout.plan import Plan
from marl.rundir.checkpoints import MAX_STATE
from protocols.bounded import parse_json
from protocols.draws import key
from trainers.checks import NotFiniteError

Metrics = dict[str, float]
Play = Callable[[Sequence[Plan]], list[Episode]]
"""Plays plans in the world of a run."""
Feature = Literal["league", "memory", "pretrained"]
"""A feature of a run that not every algorithm can deal with."""


class TrainerConfig(BaseModel):
    """Settings of an algorithm: the [algorithm] table of a run. Subclass it to add yours."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str

    @property
    def deal_group(self) -> int:
        """How many consecutive episodes of an update share a deal."""
        return 1

    @property
    def policies_named(self) -> tuple[str, ...]:
        """Policies that the settings name; a run rejects names it does not have."""
        return ()

    def conflict(self, feature: Feature) -> str | None:
        """Return one sentence on why the algorithm excludes a feature of the run, None if it does not."""
        return None


class Trainer(ABC):
    """Holds the models and their optimizers; `update` is the algorithm. `Run` calls nothing but this class.

    Args:
        config: the algorithm's settings, of the class `Config`.
        policies: the models to train, by name.
        seats: seat -> name of the policy that plays it.
        critic: the critic, if the settings configure one (those of an `AlgorithmConfig` may).
        seed: the run's seed, for the algorithm's own draws.
    """

    Config: ClassVar[type[TrainerConfig]] = TrainerConfig

    def __init__(
        self,
        config: TrainerConfig,
        policies: Mapping[str, LanguageModel],
        seats: Mapping[str, str],
        critic: Critic | None,
        seed: int,
    ) -> None:
        self.settings = config
        self.policies = dict(policies)
        self.seats = dict(seats)
        self.critic = critic
        self.seed = seed
        self.version = 0
        """Updates made so far: the version of the weights."""
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.lrs: dict[str, float] = {}
        self.modules: dict[str, nn.Module] = {} if critic is None else {"critic": critic.network}
        """Modules trained beside the policies."""

    @abstractmethod
    def update(self, episodes: Sequence[Episode]) -> Metrics:
        """Make one update from whole episodes, add 1 to `version`, and return metrics."""

    def bind(self, play: Play, live: Seats) -> None:  # noqa: B027 - most algorithms play nothing themselves
        """Receive the run's way to play plans, and its policies on their seats, before the first update."""

    def examine(self, episodes: Sequence[Episode]) -> Metrics:
        """Measure what is too slow for every update; called with some of its episodes at each checkpoint."""
        return {}

    def summary(self) -> dict[str, Any]:
        """Return entries for the summary of the run, as JSON values."""
        return {}

    def optimizer(self, name: str, module: nn.Module, lr: float, kind: str = "adam") -> torch.optim.Optimizer:
        """Create and register an optimizer: Adam, or plain gradient descent ("sgd")."""
        optimizer: torch.optim.Optimizer
        if kind == "adam":
            optimizer = torch.optim.Adam(module.parameters(), lr=lr, eps=1e-8, fused=True)
        else:
            optimizer = torch.optim.SGD(module.parameters(), lr=lr)
        self.optimizers[name] = optimizer
        self.lrs[name] = lr
        return optimizer

    def pace(self, share: float) -> None:
        """Set all learning rates to this share of the initial ones."""
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = share * self.lrs[name]

    def step(self, name: str, module: nn.Module, max_norm: float) -> float:
        """Clip the gradient's norm, take one step, clear the gradient; return the norm before clipping."""
        learned = [parameter for parameter in module.parameters() if parameter.grad is not None]
        total = nn.utils.get_total_norm([parameter.grad for parameter in learned if parameter.grad is not None])
        norm = float(total)
        if norm != norm or norm == float("inf"):
            raise NotFiniteError(f"the gradient of {name} is {norm} in update {self.version + 1}")
        if norm + 1e-6 > max_norm:  # as clip_grad_norm_, without multiplications by 1
            nn.utils.clip_grads_with_norm_(learned, max_norm, total)
        self.optimizers[name].step()
        self.optimizers[name].zero_grad(set_to_none=True)
        return norm

    def seats_of(self, name: str) -> list[str]:
        """Return the seats that a policy plays."""
        return [seat for seat, policy in self.seats.items() if policy == name]

    def parts(self, episodes: int, epochs: int, minibatches: int) -> Iterator[Tensor]:
        """Yield the episodes of each minibatch of each epoch, shuffled by coordinates."""
        for epoch in range(epochs):
            if minibatches == 1:
                yield torch.arange(episodes)
                continue
            rng = np.random.default_rng(key(self.seed, "minibatches", self.version, epoch))
            yield from map(torch.from_numpy, np.array_split(rng.permutation(episodes), minibatches))

    def save(self, folder: Path) -> None:
        """Write a checkpoint: policies as Hugging Face folders, the rest as safetensors and JSON; raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, lm in self.policies.items():
            lm.save(folder / "policies" / name)
        for name, module in self.modules.items():
            with plain_os_errors(folder):
                save_file(module.state_dict(), folder / f"{name}.safetensors")
        tensors: dict[str, Tensor] = {}
        for name, optimizer in self.optimizers.items():
            for index, slots in optimizer.state_dict()["state"].items():
                tensors |= {f"{name}/{index}/{slot}": value for slot, value in slots.items()}
        with plain_os_errors(folder):
            save_file(tensors, folder / "optimizers.safetensors")
        (folder / "trainer.json").write_text(json.dumps({"version": self.version, **self.extra_state()}))

    def restore(self, folder: Path) -> None:
        """Restore a checkpoint written by `save`; raises UserError if it is damaged or of another configuration."""
        try:
            state = parse_json((folder / "trainer.json").read_bytes(), MAX_STATE)
            for name, lm in self.policies.items():
                lm.restore(folder / "policies" / name)
            for name, module in self.modules.items():
                module.load_state_dict(load_file(folder / f"{name}.safetensors"))
            tensors = load_file(folder / "optimizers.safetensors")
            for name, optimizer in self.optimizers.items():
                slots: dict[int, dict[str, Tensor]] = {}
                for path, value in tensors.items():
                    owner, index, slot = path.rsplit("/", 2)
                    if owner == name:
                        slots.setdefault(int(index), {})[slot] = value
                optimizer.load_state_dict(optimizer.state_dict() | {"state": slots})
            self.version = int(state["version"])
            self.load_extra_state(state)
        except (OSError, SafetensorError, ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
            reason = str(error).strip().partition("\n")[0][:200]
            raise UserError(f"the checkpoint {folder} is damaged or of another configuration: {reason}") from None

    def extra_state(self) -> dict[str, Any]:
        """Return what else the algorithm keeps between updates, as JSON values."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:  # noqa: B027 - most algorithms keep nothing
        """Load the extra state saved by `extra_state()`."""
