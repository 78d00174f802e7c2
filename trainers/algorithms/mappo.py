"""Policy gradient trainer: MAPPO for language-model agents (Yu et al. 2022), one reply = one decision, and its kin.

What the critic reads, the credit method, the objective and who shares weights are independent settings
(trainers/algorithm.py): critic "own" with credit "individual" is IPPO, critic "none" with credit "group" MAGRPO.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from typing_extensions import override

from marl.credit.arrays import Array, EpisodeArrays, episode_arrays
from marl.credit.estimators import normalise
from marl.critic.critic import Critic
from marl.episode import Episode
from marl.models.language_model import LanguageModel
from marl.policy.base import Seats
from protocols.draws import key
from trainers.algorithm import AlgorithmConfig
from trainers.algorithms.critic_step import CriticStep
from trainers.algorithms.policy_step import PolicyStep
from trainers.batch import Batch, collate
from trainers.checks import REWARDS, check_finite
from trainers.credit.assignment import Assignment
from trainers.credit.shaping import Shaping
from trainers.parallel import side_by_side
from trainers.trainer import Metrics, Play, Trainer


class PolicyGradientTrainer(Trainer):
    """Clipped policy gradient; by default with advantages from a critic over the log."""

    Config = AlgorithmConfig

    def __init__(
        self,
        config: AlgorithmConfig,
        policies: Mapping[str, LanguageModel],
        seats: Mapping[str, str],
        critic: Critic | None,
        seed: int,
    ) -> None:
        super().__init__(config, policies, seats, critic, seed)
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

    @override
    def update(self, episodes: Sequence[Episode]) -> Metrics:
        """Make one joint update from whole episodes.

        A_k   = credit(V over the log)            marl/credit/estimators.py, for every decision k of every agent
        L_pi  = -1/N sum_t min(rho_t A_k(t), clip(rho_t) A_k(t)) - 1/N sum_t c_t H_t  trainers/algorithms/policy_step.py
        L_V   = 1/(2P) sum_p (V_p - target_p)^2                                     trainers/algorithms/critic_step.py
        """
        cfg, number = self.config, self.version
        self.pace(0.5 ** (number / cfg.lr_halving) if cfg.lr_halving else 1.0)
        arrays, metrics = self._rewarded(episodes)
        assigned = self.assignment.assign(episodes, arrays, number + 1)
        if assigned.futures:
            metrics["credit/futures"] = float(assigned.futures)
        batches, measured = self._batches(episodes, arrays, assigned.credit.advantage)
        metrics |= measured
        if cfg.order == "one_by_one":
            draw = key(self.seed, "order", number)
            metrics |= self.policy_step.one_by_one(batches, arrays, episodes, number, draw)
            batches = {}
        parts = list(self.parts(len(episodes), cfg.epochs, cfg.minibatches))
        chains = [
            partial(self.policy_step.run, name, batch, parts, episodes, number) for name, batch in batches.items()
        ]
        if self.critic_step is not None:
            chains.append(partial(self.critic_step.run, episodes, parts, assigned))
        for measured in side_by_side(chains):
            metrics |= measured
        self.version += 1
        return metrics

    def _rewarded(self, episodes: Sequence[Episode]) -> tuple[EpisodeArrays, Metrics]:
        """Lay episodes out as arrays, with shaping terms and the KL penalty in the rewards."""
        cfg = self.config
        arrays = episode_arrays(episodes, cfg.gamma, cfg.reward_sharing, cfg.gamma_per)
        check_finite(arrays.rewards, f"the rewards of update {self.version + 1}", episodes, REWARDS)
        rewards, metrics = self.shaping.shaped(arrays, episodes, self.version)
        arrays = replace(arrays, rewards=rewards)
        return replace(arrays, rewards=self.policy_step.kl_penalised(arrays, episodes, self.seats)), metrics

    def _batches(
        self, episodes: Sequence[Episode], arrays: EpisodeArrays, advantage: Array
    ) -> tuple[dict[str, Batch], Metrics]:
        """Lay out the batch of each policy that learns now, before any of them takes a step.

        So the log-probabilities of all agents are those of sampling (or of the weights before this update).
        """
        cfg = self.config
        if cfg.normalise:
            advantage = normalise(advantage, arrays.actor, arrays.rewards.shape[-1])
        oldest = 0 if cfg.stalest is None else max(self.version - cfg.stalest, 0)
        turn = self.turn()
        batches = {
            name: collate(lm, episodes, self.seats_of(name), advantage, oldest)
            for name, lm in self.policies.items()
            if name in turn
        }
        metrics: Metrics = {}
        if cfg.behaviour_cap is not None:
            for name, batch in batches.items():
                batches[name], measured = self.policy_step.corrected(name, batch)
                metrics |= measured
        return batches, metrics

    @override
    def bind(self, play: Play, live: Seats) -> None:
        self.assignment.bind(play, live)

    @override
    def examine(self, episodes: Sequence[Episode]) -> Metrics:
        return self.critic_step.examine(episodes, self.version) if self.critic_step else {}

    @override
    def summary(self) -> dict[str, Any]:
        return {"critic_dead": self.assignment.alarm.dead}

    def turn(self) -> list[str]:
        """Return the policies that learn in this update."""
        cfg = self.config
        if not cfg.alternate or not self.learning:
            return self.learning
        return [self.learning[self.version // cfg.alternate % len(self.learning)]]

    @override
    def extra_state(self) -> dict[str, Any]:
        return {"assignment": self.assignment.state(), "policy_step": self.policy_step.state()}

    @override
    def load_extra_state(self, state: dict[str, Any]) -> None:
        self.assignment.restore(state["assignment"])
        self.policy_step.restore(state["policy_step"])


Mappo = PolicyGradientTrainer
"""The name of the class in version 0.1."""
