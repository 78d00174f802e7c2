"""Critic step: regression towards the value targets, one optimizer step, and health metrics.

L_V = 1/(2P) sum_p (V_p - target_p)^2        over the P values of a joint minibatch, in the critic's own scale
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from marl.credit.arrays import episode_arrays
from marl.critic.critic import Critic
from marl.critic.permutation import permutation_test
from marl.critic.reading import Reading
from marl.episode import Episode
from trainers.algorithm import AlgorithmConfig
from trainers.credit import counterfactual, values
from trainers.credit.assignment import Assigned, Assignment
from trainers.trainer import Metrics


class CriticStep:
    """Steps the critic; `step` clips the gradient and moves the weights."""

    def __init__(
        self,
        config: AlgorithmConfig,
        critic: Critic,
        step: Callable[[str, nn.Module, float], float],
        assignment: Assignment,
    ) -> None:
        self.config, self.critic, self._step, self.assignment = config, critic, step, assignment

    def run(self, episodes: Sequence[Episode], parts: Sequence[Tensor], assigned: Assigned) -> Metrics:
        """Take steps on each of these sets of episodes; return the metrics of the last one."""
        reading, output = assigned.forward or (self.critic.read(episodes), None)
        metrics: Metrics = {}
        for part in parts:
            some, target = [episodes[i] for i in part.tolist()], assigned.credit.target[part.numpy()]
            if self.config.minibatches == 1:
                metrics = self(some, target, reading, output)
            else:
                metrics = self(some, target, reading.of(part.to(reading.ids.device)))
            output = None  # it belonged to the weights before this step
        return metrics

    def __call__(
        self, episodes: Sequence[Episode], target: NDArray[np.float64], reading: Reading, output: Tensor | None = None
    ) -> Metrics:
        """Take `critic_steps` steps towards targets [E, K, N]; the metrics are from before the first.

        `output` holds the critic's values if they were computed already, with gradients.
        """
        scale = self.assignment.scale
        joint = self._joint(episodes, target) if self.assignment.method.needs_joint_values else None
        metrics: Metrics = {}
        for i in range(self.config.critic_steps):
            predicted = self.critic(reading) if i or output is None else output
            outputs, goal = values.points((reading, predicted), target)
            health = values.health(outputs, goal, scale)
            if i == 0:
                scale.observe(goal)
                health["dead"] = float(self.assignment.alarm.observe(health["explained_variance"]))
            loss = values.loss(outputs, goal, scale)
            health["loss"] = float(loss.detach())
            if joint is not None:
                loss = loss + values.loss(*values.points((joint[0], self.critic(joint[0])), joint[1]), scale)
            loss.backward()  # type: ignore[no-untyped-call]
            health["grad"] = self._step("critic", self.critic.network, self.config.max_grad_norm)
            metrics = metrics or {f"critic/{what}": value for what, value in health.items()}
        return metrics

    def _joint(self, episodes: Sequence[Episode], target: NDArray[np.float64]) -> tuple[Reading, NDArray[np.float64]]:
        """Return the points after each stage, and their targets: those of the stage's last decision."""
        last = [
            (e, k)
            for e, episode in enumerate(episodes)
            for k, turn in enumerate(episode.turns)
            if k + 1 == len(episode.turns) or episode.turns[k + 1].stage != turn.stage
        ]
        reading = counterfactual.after(self.critic, [counterfactual.joint(episodes[e], k) for e, k in last])
        goal = np.array([target[e, k] for e, k in last])[:, None]  # one slot each: read as decision 0
        return reading._replace(slot=torch.zeros_like(reading.slot)), goal

    def examine(self, episodes: Sequence[Episode], seed: int) -> Metrics:
        """Test whether the critic uses what agents themselves cannot see: `marl/critic/permutation.py`."""
        critic, scale = self.critic, self.assignment.scale
        if self.config.critic == "own":
            return {}
        agents = len(episodes[0].agents)
        shape = (len(episodes), max(len(episode.turns) for episode in episodes) + 1, agents)
        arrays = episode_arrays(episodes, self.config.gamma, self.config.reward_sharing, self.config.gamma_per)
        with torch.no_grad():
            test = permutation_test(episodes, lambda some: values.read(critic, some, shape, scale)[0], arrays, seed)
        return {"critic/joint_gain": test.explained - test.permuted, "critic/joint_p": test.p}
