"""Trainer: what every algorithm shares. An algorithm is a subclass with one method, `update`."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from marl.critic import Critic
from marl.episode import Episode, Stop
from marl.errors import UserError
from marl.lm import LanguageModel
from protocols.draws import key

Metrics = dict[str, float]


def cores() -> int:
    """Return on how many cores this process may run."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def side_by_side(steps: Sequence[Callable[[], Metrics]]) -> list[Metrics]:
    """Take steps of models that share no weights at the same time, one thread each, and return what they measured.

    torch lets go of the interpreter while it computes, and models too small to gain from several threads each gain from
    this. With more than one torch thread, or on a single core, the steps follow one another instead of fighting for it.
    """
    if len(steps) == 1 or torch.get_num_threads() > 1 or cores() == 1:
        return [step() for step in steps]
    with ThreadPoolExecutor(len(steps)) as pool:
        return [future.result() for future in [pool.submit(step) for step in steps]]


def finite(array: NDArray[np.float64], what: str, episodes: Sequence[Episode]) -> NDArray[np.float64]:
    """Return the array [E, ...]; raises FloatingPointError, which names the first episode with a number that is none.

    nan must not pass for "not scored".
    """
    fine = np.isfinite(array).reshape(len(array), -1).all(1)
    if not fine.all():
        raise FloatingPointError(f"{what} are not finite in episode {episodes[int(fine.argmin())].log.episode}")
    return array


def all_played(episodes: Sequence[Episode]) -> None:
    """Raise UserError where an episode failed, or ended before anyone had replied: nothing can be learned from it."""
    failed = [episode.error for episode in episodes if episode.stop is Stop.ERROR]
    if failed:
        raise UserError(f"{len(failed)} of {len(episodes)} episodes failed; the first: {failed[0]}")
    empty = [episode for episode in episodes if not episode.turns]
    if empty:
        end = empty[0].log.entries[-1].envelope
        raise UserError(
            f"{len(empty)} of {len(episodes)} episodes ended before anyone replied ({end.body}); the first: "
            f"{end.data.get('reason', 'nobody was asked')}"
        )


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
        self.modules: dict[str, nn.Module] = {} if critic is None else {"critic": critic}
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
