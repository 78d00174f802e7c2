"""Trainers over tiny models, and their gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from marl.critic.tiny import tiny_critic
from marl.models.language_model import LanguageModel
from marl.scenario.world import World
from tests.marl.worlds import lm_for
from trainers.algorithm import AlgorithmConfig
from trainers.algorithms.mappo import PolicyGradientTrainer


def config(**settings: Any) -> AlgorithmConfig:
    """No entropy unless asked for: what is tested is the rest."""
    return AlgorithmConfig.model_validate({"entropy": {"random": 0.0, "settled": 0.0}, **settings})


def policies(world: World, count: int = 1, init: float = 0.3, seed: int = 1) -> dict[str, LanguageModel]:
    return {f"p{i}": lm_for(world, seed=seed + i, init=init) for i in range(count)}


def trainer(
    world: World,
    models: dict[str, LanguageModel],
    kind: type[PolicyGradientTrainer] = PolicyGradientTrainer,
    **settings: Any,
) -> PolicyGradientTrainer:
    """One model is shared by all seats; several take turns. The critic's first values are not 0."""
    settled = config(**settings)
    critic = None
    if settled.critic != "none" and settled.critic != "graph":
        words = world.vocabulary
        inside = settled.credit_per == "token"
        critic = tiny_critic(
            world.agents, words, scope=settled.critic, width=16, layers=1, heads=2, context=512, seed=5, inside=inside
        )
        torch.nn.init.normal_(
            critic.network.get_parameter("head.weight"), std=0.5, generator=torch.Generator().manual_seed(2)
        )
    names = list(models)
    return kind(settled, models, {a: names[i % len(names)] for i, a in enumerate(world.agents)}, critic, 1)


def gradient(module: nn.Module) -> Tensor:
    """The gradient as one vector; it is taken away from the module."""
    parts = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in module.parameters()]
    module.zero_grad(set_to_none=True)
    return torch.cat([part.ravel() for part in parts])


def weights(module: nn.Module) -> Tensor:
    return torch.cat([p.detach().clone().ravel() for p in module.parameters()])


class Noting(PolicyGradientTrainer):
    """PolicyGradientTrainer that notes the gradient of every step; it takes the step only if told so."""

    moving = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.noted: dict[str, list[Tensor]] = {}

    def step(self, name: str, module: nn.Module, max_norm: float) -> float:
        parts = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in module.parameters()]
        self.noted.setdefault(name, []).append(torch.cat([part.ravel() for part in parts]))
        if self.moving:
            return super().step(name, module, max_norm)
        module.zero_grad(set_to_none=True)
        return 0.0


class Moving(Noting):
    """Notes, and steps."""

    moving = True
