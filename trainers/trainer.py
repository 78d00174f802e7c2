"""Trainer: what every algorithm shares. An algorithm is a subclass with one method, `update`."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from marl.critic.critic import Critic
from marl.episode import Episode
from marl.errors import UserError
from marl.models.language_model import LanguageModel
from protocols.draws import key

Metrics = dict[str, float]


class Trainer(ABC):
    """Holds the models and their optimizers; `update` is the algorithm.

    Args:
        policies: the models to train, by name.
        seats: seat -> name of the policy that sits there.
        critic: the critic, if the algorithm has one.
        seed: the run's seed, for the algorithm's own draws.
    """

    def __init__(
        self, policies: Mapping[str, LanguageModel], seats: Mapping[str, str], critic: Critic | None, seed: int
    ) -> None:
        self.policies = dict(policies)
        self.seats = dict(seats)
        self.critic = critic
        self.seed = seed
        self.version = 0
        """Updates made so far: the version of the weights."""
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.lrs: dict[str, float] = {}
        self.modules: dict[str, nn.Module] = {} if critic is None else {"critic": critic.network}
        """What learns beside the policies."""

    @abstractmethod
    def update(self, episodes: Sequence[Episode]) -> Metrics:
        """Learn from whole episodes, once."""

    def optimizer(self, name: str, module: nn.Module, lr: float, kind: str = "adam") -> torch.optim.Optimizer:
        """Make and remember an optimizer, Adam or plain gradient descent ("sgd")."""
        made: torch.optim.Optimizer
        if kind == "adam":
            made = torch.optim.Adam(module.parameters(), lr=lr, eps=1e-8, fused=True)
        else:
            made = torch.optim.SGD(module.parameters(), lr=lr)
        self.optimizers[name] = made
        self.lrs[name] = lr
        return made

    def pace(self, share: float) -> None:
        """Have all optimizers go on with this share of their step sizes."""
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = share * self.lrs[name]

    def step(self, name: str, module: nn.Module, max_norm: float) -> float:
        """Clip the gradient's norm, take one step, clear the gradient; return the norm before clipping."""
        learned = [parameter for parameter in module.parameters() if parameter.grad is not None]
        found = nn.utils.get_total_norm([parameter.grad for parameter in learned if parameter.grad is not None])
        norm = float(found)
        if norm != norm or norm == float("inf"):
            raise FloatingPointError(f"the gradient of {name} is {norm} in update {self.version + 1}")
        if norm + 1e-6 > max_norm:  # as clip_grad_norm_, but for what it multiplies by 1
            nn.utils.clip_grads_with_norm_(learned, max_norm, found)
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
        """Write everything that steers learning: policies as Hugging Face folders, the rest as safetensors and JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, lm in self.policies.items():
            lm.save(folder / "policies" / name)
        for name, module in self.modules.items():
            save_file(module.state_dict(), folder / f"{name}.safetensors")
        tensors: dict[str, Tensor] = {}
        for name, optimizer in self.optimizers.items():
            for index, slots in optimizer.state_dict()["state"].items():
                tensors |= {f"{name}/{index}/{slot}": value for slot, value in slots.items()}
        save_file(tensors, folder / "optimizers.safetensors")
        (folder / "trainer.json").write_text(json.dumps({"version": self.version, **self.extra()}))

    def restore(self, folder: Path) -> None:
        """Take up what `save` wrote; raises UserError if the checkpoint is damaged or of another configuration."""
        try:
            state = json.loads((folder / "trainer.json").read_text())
            for name, lm in self.policies.items():
                lm.restore(folder / "policies" / name)
            for name, module in self.modules.items():
                module.load_state_dict(load_file(folder / f"{name}.safetensors"))
            tensors = load_file(folder / "optimizers.safetensors")
            for name, optimizer in self.optimizers.items():
                slots: dict[int, dict[str, Tensor]] = {}
                for place, value in tensors.items():
                    owner, index, slot = place.rsplit("/", 2)
                    if owner == name:
                        slots.setdefault(int(index), {})[slot] = value
                optimizer.load_state_dict(optimizer.state_dict() | {"state": slots})
            self.version = int(state["version"])
            self.take_extra(state)
        except (OSError, SafetensorError, ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
            reason = str(error).strip().partition("\n")[0][:200]
            raise UserError(f"the checkpoint {folder} is damaged or of another configuration: {reason}") from None

    def extra(self) -> dict[str, Any]:
        """Return what else an algorithm keeps between updates, as JSON values."""
        return {}

    def take_extra(self, state: dict[str, Any]) -> None:  # noqa: B027 - most algorithms keep nothing
        """Take up what `extra` returned."""
