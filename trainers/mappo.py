"""MAPPO for language-model agents (Yu et al. 2022), one reply = one decision.

The critic's scope, the way credit is assigned and the sharing of parameters are independent settings: `critic = "own"`
with `credit = "individual"` is IPPO, `critic = "none"` with `credit = "monte_carlo"` REINFORCE with a batch baseline.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from marl import credit
from marl.batch import Batch, collate
from marl.critic import Critic, Reading, table
from marl.episode import Episode
from marl.lm import LanguageModel
from protocols.draws import key
from trainers.entropy import EntropyConfig
from trainers.losses import explained_variance, ppo_clip, value_loss
from trainers.trainer import Metrics, Trainer, finite, side_by_side


class MappoConfig(BaseModel):
    """The defaults are the vetted algorithm; any key you set is your own assembly."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["mappo"] = "mappo"
    critic: Literal["central", "own", "none"] = "central"
    credit: Literal["sequential", "team", "individual", "monte_carlo"] = "sequential"
    reward_sharing: float = Field(default=0.0, ge=0, le=1, description="share of the team's mean in every reward")
    gamma: float = Field(default=1.0, gt=0, le=1, description="discount per round of the arena")
    lam: float = Field(default=0.95, ge=0, le=1, description="lambda of the generalised advantage")
    normalise: bool = Field(default=True, description="advantages to mean 0, deviation 1, per agent")
    clip_low: float = Field(default=0.2, gt=0)
    clip_high: float = Field(default=0.2, gt=0)
    entropy: EntropyConfig = EntropyConfig()
    epochs: int = Field(default=1, ge=1)
    minibatches: int = Field(default=1, ge=1, description="optimizer steps per epoch")
    micro_batch: int = Field(default=4096, ge=1, description="rows per backward pass; changes nothing but memory")
    lr: float = Field(default=5e-4, gt=0)
    critic_lr: float = Field(default=5e-4, gt=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    critic_width: int = Field(default=64, ge=8)
    critic_layers: int = Field(default=2, ge=1)
    critic_heads: int = Field(default=4, ge=1)


class Mappo(Trainer):
    """Clipped policy gradient with advantages from a critic over the log."""

    def __init__(
        self,
        config: MappoConfig,
        policies: Mapping[str, LanguageModel],
        seats: Mapping[str, str],
        critic: Critic | None,
        seed: int,
    ) -> None:
        super().__init__(policies, seats, critic, seed)
        self.config = config
        for name, lm in self.policies.items():
            self.optimizer(name, lm.model, config.lr)
        if critic is not None:
            self.optimizer("critic", critic, config.critic_lr)

    def update(self, episodes: Sequence[Episode]) -> Metrics:
        """One joint update from whole episodes.

        A_k   = credit(V over the log)                   credit.py, for every decision k of every agent
        L_pi  = -1/N sum_t min(rho_t A_k(t), clip(rho_t) A_k(t)) - 1/N sum_t c_t H_t        entropy.py, for c_t
        L_V   = 1/(2P) sum_p (V_p - target_p)^2
        """
        cfg = self.config
        book = credit.ledger(episodes, cfg.gamma, cfg.reward_sharing)
        finite(book.rewards, f"the rewards of update {self.version + 1}")
        values, forward = self.values(episodes, book)
        scored = credit.CREDITS[cfg.credit](book, values, cfg.lam)
        advantage = scored.advantage
        if cfg.normalise:
            advantage = credit.normalise(advantage, book.actor, book.rewards.shape[-1])
        # The log-probabilities of all agents are those of sampling, fixed before any of them takes a step.
        batches = {
            name: collate(lm, episodes, [s for s, p in self.seats.items() if p == name], advantage)
            for name, lm in self.policies.items()
        }
        metrics: Metrics = {}
        for part in self.parts(len(episodes)):
            steps = [
                partial(self.policy_step, name, batch.rows(torch.isin(batch.episode, part)))
                for name, batch in batches.items()
            ]
            if self.critic is not None:
                if forward is None or cfg.minibatches > 1:
                    forward = self.critic.predict([episodes[i] for i in part.tolist()])
                steps.append(partial(self.critic_step, self.critic, *forward, scored.target[part.numpy()]))
                forward = None  # it belonged to the weights before this step
            for measured in side_by_side(steps):
                metrics |= measured
        self.version += 1
        return metrics

    def policy_step(self, name: str, batch: Batch) -> Metrics:
        """One optimizer step of one policy; the rows go through in micro-batches with one common denominator."""
        cfg, lm = self.config, self.policies[name]
        lm.train()
        n = max(batch.tokens, 1)
        total: dict[str, float] = dict.fromkeys(("loss", "entropy", "entropy_weight", "kl", "clipped"), 0.0)
        for first in range(0, len(batch.ids), cfg.micro_batch):
            micro = batch.rows(torch.arange(first, min(first + cfg.micro_batch, len(batch.ids)), device=lm.device))
            at = micro.trained
            logp, entropy = lm.score(micro.ids, at, micro.mask_rows[at])
            policy = ppo_clip(logp, micro.logp_old[at], micro.advantage[at], cfg.clip_low, cfg.clip_high)
            weight = cfg.entropy.weight(entropy.detach(), lm.masks[micro.mask_rows[at]].sum(-1).log())
            loss = (policy.loss - (weight * entropy).sum()) / n
            loss.backward()  # type: ignore[no-untyped-call]
            total["loss"] += float(loss.detach())
            total["entropy"] += float(entropy.detach().sum()) / n
            total["entropy_weight"] += float(weight.sum()) / n
            total["kl"] += float((policy.ratio - 1 - policy.ratio.log()).sum()) / n  # k3, Schulman 2020
            total["clipped"] += float(policy.clipped) / n
        total["grad"] = self.step(name, lm.model, cfg.max_grad_norm)
        return {f"policy/{name}/{what}": value for what, value in total.items()}

    def critic_step(self, critic: Critic, reading: Reading, values: Tensor, target: NDArray[np.float64]) -> Metrics:
        """One optimizer step of the critic for the joint minibatch, whose values it has just predicted."""
        wanted = torch.from_numpy(target).float().to(reading.ids.device)
        has_target = reading.slot < wanted.shape[1]
        goal = wanted[reading.episode, reading.slot.clamp(max=wanted.shape[1] - 1), reading.agent]
        keep = has_target & ~goal.isnan()
        loss = value_loss(values[keep], goal[keep]) / max(int(keep.sum()), 1)
        loss.backward()  # type: ignore[no-untyped-call]
        explained = explained_variance(values[keep].detach(), goal[keep])
        norm = self.step("critic", critic, self.config.max_grad_norm)
        return {"critic/loss": float(loss.detach()), "critic/explained_variance": explained, "critic/grad": norm}

    def values(
        self, episodes: Sequence[Episode], book: credit.Ledger
    ) -> tuple[credit.Array, tuple[Reading, Tensor] | None]:
        """Return V [E, K + 1, N], zeros without a critic; and the forward pass it came from, for the critic's step."""
        size, count, agents = book.rewards.shape
        if self.critic is None:
            return np.zeros((size, count + 1, agents)), None
        with torch.set_grad_enabled(self.config.minibatches == 1):
            forward = self.critic.predict(episodes)
        values = table(*forward, size, count + 1, agents)
        return finite(values, f"the critic's values in update {self.version + 1}"), forward

    def parts(self, episodes: int) -> Iterator[torch.Tensor]:
        """Yield the episodes of each minibatch of each epoch, shuffled by coordinates."""
        cfg = self.config
        for epoch in range(cfg.epochs):
            if cfg.minibatches == 1:
                yield torch.arange(episodes)
                continue
            rng = np.random.default_rng(key(self.seed, "minibatches", self.version, epoch))
            yield from map(torch.from_numpy, np.array_split(rng.permutation(episodes), cfg.minibatches))
