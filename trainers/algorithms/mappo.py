"""MAPPO for language-model agents (Yu et al. 2022), one reply = one decision, and every algorithm assembled like it.

What the critic reads, how credit is given, the objective and who shares weights are independent settings
(trainers/algorithm.py): critic "own" with credit "individual" is IPPO, critic "none" with credit "group" MAGRPO.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from marl import credit
from marl.critic.critic import Critic
from marl.episode import Episode
from marl.models.language_model import LanguageModel
from protocols.draws import key
from trainers.algorithm import AlgorithmConfig
from trainers.algorithms.critic_step import CriticStep
from trainers.algorithms.policy_step import PolicyStep
from trainers.batch import collate
from trainers.checks import finite
from trainers.credit.assignment import Assignment
from trainers.credit.shaping import Shaping
from trainers.parallel import side_by_side
from trainers.trainer import Metrics, Trainer


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
            self.optimizer(name, self.policies[name].learner, config.lrs.get(name, config.lr), config.optimizer)
        if critic is not None:
            critic.autocast = config.autocast
            self.optimizer("critic", critic.network, config.critic_lr)
        self.assignment = Assignment(config, critic, self.policies, self.seats, seed)
        self.shaping = Shaping(config.shaping, self.policies, self.seats, key(seed, "shaping"))
        for name, head in self.shaping.heads.items():
            self.modules[f"belief {name}"] = head
            self.optimizer(f"belief {name}", head, config.critic_lr)
        self.policy_step = PolicyStep(config, self.policies, self.step, self.shaping)
        self.critic_step = None if critic is None else CriticStep(config, critic, self.step, self.assignment)

    def update(self, episodes: Sequence[Episode]) -> Metrics:
        """One joint update from whole episodes.

        A_k   = credit(V over the log)            marl/credit/estimators.py, for every decision k of every agent
        L_pi  = -1/N sum_t min(rho_t A_k(t), clip(rho_t) A_k(t)) - 1/N sum_t c_t H_t  trainers/algorithms/policy_step.py
        L_V   = 1/(2P) sum_p (V_p - target_p)^2                                     trainers/algorithms/critic_step.py
        """
        cfg = self.config
        book = credit.ledger(episodes, cfg.gamma, cfg.reward_sharing, cfg.gamma_per)
        finite(book.rewards, f"the rewards of update {self.version + 1}", episodes)
        self.policy_step.episodes, self.policy_step.update = episodes, self.version
        self.pace(0.5 ** (self.version / cfg.lr_halving) if cfg.lr_halving else 1.0)
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
        for name, batch in batches.items() if cfg.behaviour_cap is not None else ():
            batches[name], found = self.policy_step.corrected(name, batch)
            metrics |= found
        if cfg.order == "one_by_one":
            metrics |= self.policy_step.one_by_one(batches, book, key(self.seed, "order", self.version))
            batches = {}
        parts = list(self.parts(len(episodes), cfg.epochs, cfg.minibatches))
        chains = [partial(self.policy_step.each, name, batch, parts) for name, batch in batches.items()]
        if self.critic_step is not None:
            chains.append(partial(self.critic_step.each, episodes, parts, assigned))
        for measured in side_by_side(chains):
            metrics |= measured
        self.version += 1
        return metrics

    def examine(self, episodes: Sequence[Episode]) -> Metrics:
        """Measure whether the critic uses what agents themselves cannot see."""
        return self.critic_step.examine(episodes, self.version) if self.critic_step else {}

    def turn(self) -> list[str]:
        """Return the policies that learn in this update."""
        cfg = self.config
        if not cfg.alternate or not self.learning:
            return self.learning
        return [self.learning[self.version // cfg.alternate % len(self.learning)]]

    def extra(self) -> dict[str, Any]:
        """Return the running baselines and scales."""
        return {"assignment": self.assignment.state(), "policy_step": self.policy_step.state()}

    def take_extra(self, state: dict[str, Any]) -> None:
        """Take up what `extra` returned."""
        self.assignment.restore(state["assignment"])
        self.policy_step.restore(state["policy_step"])
