"""MAPPO for language-model agents (Yu et al. 2022), one reply = one decision, and every algorithm assembled like it.

What the critic reads, how credit is given, the objective and who shares weights are independent settings
(trainers/algorithm.py): `critic = "own"` with `credit = "individual"` is IPPO, `critic = "none"` with
`credit = "group"` MAGRPO.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marl import credit
from marl.batch import collate
from marl.critic import Critic
from marl.episode import Episode
from marl.lm import LanguageModel
from marl.study.permutation import permutation_test
from protocols.draws import key
from trainers import counterfactual, values
from trainers.algorithm import AlgorithmConfig
from trainers.assignment import Assigned, Assignment
from trainers.policy_step import PolicyStep
from trainers.shaping import Shaping
from trainers.trainer import Metrics, Trainer, finite, side_by_side


class Mappo(Trainer):
    """Clipped policy gradient; by default with advantages from a critic over the log."""

    def __init__(
        self,
        config: AlgorithmConfig,
        policies: Mapping[str, LanguageModel],
        seats: Mapping[str, str],
        critic: Critic | None,
        seed: int,
    ) -> None:
        super().__init__(policies, seats, critic, seed)
        self.config = config
        self.learning = [name for name in self.policies if name not in config.frozen]
        for name in self.learning:
            self.optimizer(name, self.policies[name].model, config.lrs.get(name, config.lr))
        if critic is not None:
            self.optimizer("critic", critic, config.critic_lr)
        self.assignment = Assignment(config, critic, self.policies, self.seats, seed)
        self.shaping = Shaping(config.shaping, self.policies, self.seats, key(seed, "shaping"))
        for name, head in self.shaping.heads.items():
            self.modules[f"belief {name}"] = head
            self.optimizer(f"belief {name}", head, config.critic_lr)
        self.policy_step = PolicyStep(config, self.policies, self.step, self.shaping)

    def update(self, episodes: Sequence[Episode]) -> Metrics:
        """One joint update from whole episodes.

        A_k   = credit(V over the log)                   marl/credit.py, for every decision k of every agent
        L_pi  = -1/N sum_t min(rho_t A_k(t), clip(rho_t) A_k(t)) - 1/N sum_t c_t H_t        trainers/policy_step.py
        L_V   = 1/(2P) sum_p (V_p - target_p)^2                                             trainers/values.py
        """
        cfg = self.config
        book = credit.ledger(episodes, cfg.gamma, cfg.reward_sharing)
        finite(book.rewards, f"the rewards of update {self.version + 1}", episodes)
        self.policy_step.episodes = episodes
        metrics: Metrics = self.shaping.pay(episodes, book, self.version)
        self.policy_step.charge(episodes, book, self.seats)
        assigned = self.assignment.assign(episodes, book, self.version + 1)
        advantage = assigned.credit.advantage
        if cfg.normalise:
            advantage = credit.normalise(advantage, book.actor, book.rewards.shape[-1])
        # The log-probabilities of all agents are those of sampling, fixed before any of them takes a step.
        oldest = 0 if cfg.stalest is None else max(self.version - cfg.stalest, 0)
        batches = {
            name: collate(lm, episodes, self.seats_of(name), advantage, oldest)
            for name, lm in self.policies.items()
            if name in self.turn()
        }
        metrics |= {"credit/futures": float(assigned.futures)} if assigned.futures else {}
        if cfg.behaviour_cap is not None:
            for name, batch in batches.items():
                batches[name], found = self.policy_step.corrected(name, batch)
                metrics |= found
        if cfg.order == "one_by_one":
            metrics |= self.policy_step.one_by_one(batches, book, key(self.seed, "order", self.version))
            batches = {}
        for part in self.parts(len(episodes)):
            steps = [
                partial(self.policy_step, name, batch.rows(torch.isin(batch.episode, part.to(batch.episode.device))))
                for name, batch in batches.items()
            ]
            if self.critic is not None:
                steps.append(partial(self.critic_step, self.critic, episodes, part, assigned))
                assigned = assigned._replace(forward=None)  # it belonged to the weights before this step
            for measured in side_by_side(steps):
                metrics |= measured
        self.version += 1
        return metrics

    def critic_step(self, critic: Critic, episodes: Sequence[Episode], part: Tensor, assigned: Assigned) -> Metrics:
        """One optimizer step of the critic for the joint minibatch."""
        chosen, target = [episodes[i] for i in part.tolist()], assigned.credit.target[part.numpy()]
        scale = self.assignment.scale
        output, goal = values.points(assigned.forward or critic.predict(chosen), target)
        health = values.health(output, goal, scale)
        scale.observe(goal)
        loss = values.loss(output, goal, scale)
        health["loss"] = float(loss.detach())
        if self.config.credit == "counterfactual":  # it must know what joint moves are worth too
            loss = loss + self._joint_loss(critic, chosen, target)
        loss.backward()  # type: ignore[no-untyped-call]
        dead = self.assignment.alarm.hear(health["explained_variance"])
        norm = self.step("critic", critic, self.config.max_grad_norm)
        return {f"critic/{what}": value for what, value in health.items()} | {
            "critic/grad": norm,
            "critic/dead": float(dead),
        }

    def _joint_loss(self, critic: Critic, episodes: Sequence[Episode], target: NDArray[np.float64]) -> Tensor:
        """The squared error of Q after each stage; its target is that of the stage's last decision."""
        last = [
            (e, k)
            for e, episode in enumerate(episodes)
            for k, turn in enumerate(episode.turns)
            if k + 1 == len(episode.turns) or episode.turns[k + 1].stage != turn.stage
        ]
        forward = counterfactual.read(critic, [counterfactual.joint(episodes[e], k) for e, k in last])
        goal = np.array([target[e, k] for e, k in last])[:, None]  # one slot each: read as decision 0
        reading = forward[0]._replace(slot=torch.zeros_like(forward[0].slot))
        return values.loss(*values.points((reading, forward[1]), goal), self.assignment.scale)

    def examine(self, episodes: Sequence[Episode]) -> Metrics:
        """Measure whether the critic uses what agents themselves cannot see: `marl/study/permutation.py`."""
        critic, scale = self.critic, self.assignment.scale
        if critic is None or self.config.critic == "own":
            return {}
        shape = (len(episodes), max(len(episode.turns) for episode in episodes) + 1, len(self.seats))
        with torch.no_grad():
            found = permutation_test(
                episodes, lambda given: values.read(critic, given, shape, scale)[0], self.config.gamma, self.version
            )
        return {"critic/joint_gain": found.explained - found.permuted, "critic/joint_p": found.p}

    def seats_of(self, name: str) -> list[str]:
        """Return the seats that a policy plays."""
        return [seat for seat, policy in self.seats.items() if policy == name]

    def turn(self) -> list[str]:
        """Return the policies that learn in this update."""
        cfg = self.config
        if not cfg.alternate or not self.learning:
            return self.learning
        return [self.learning[self.version // cfg.alternate % len(self.learning)]]

    def parts(self, episodes: int) -> Iterator[torch.Tensor]:
        """Yield the episodes of each minibatch of each epoch, shuffled by coordinates."""
        cfg = self.config
        for epoch in range(cfg.epochs):
            if cfg.minibatches == 1:
                yield torch.arange(episodes)
                continue
            rng = np.random.default_rng(key(self.seed, "minibatches", self.version, epoch))
            yield from map(torch.from_numpy, np.array_split(rng.permutation(episodes), cfg.minibatches))

    def extra(self) -> dict[str, Any]:
        """Return the running baselines and scales."""
        return {"assignment": self.assignment.state(), "policy_step": self.policy_step.state()}

    def take_extra(self, state: dict[str, Any]) -> None:
        """Take up what `extra` returned."""
        self.assignment.restore(state["assignment"])
        self.policy_step.restore(state["policy_step"])
