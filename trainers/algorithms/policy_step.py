"""One optimizer step of one policy: the objective of a batch, token by token.

L = - sum_t w_t [min(rho_t A_t, clip(rho_t) A_t) + c_t H_t - beta KL_t]       losses.py, entropy.py

w_t makes the mean: 1/n over the n trained tokens of the step (`per = "token"`), 1/(R n_r) over the tokens of each of R
replies ("reply"), or 1/(R longest), the same however long replies are ("constant": Dr. GRPO, Liu et al. 2025).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from marl.credit.arrays import Ledger
from marl.episode import Episode
from marl.models.language_model import LanguageModel, Scores
from trainers.algorithm import AlgorithmConfig
from trainers.batch import Batch, collate
from trainers.credit.shaping import Shaping
from trainers.losses import Clip, PolicyLoss, divergence, geometric_clip, ppo_clip, sequence_clip
from trainers.trainer import Metrics

Step = Callable[[str, nn.Module, float], float]
WATCHED = ("loss", "entropy", "entropy_weight", "kl", "clipped", "divergence")


class PolicyStep:
    """Steps policies as an algorithm's configuration says; `step` clips the gradient and moves the weights."""

    def __init__(
        self, config: AlgorithmConfig, policies: Mapping[str, LanguageModel], step: Step, shaping: Shaping
    ) -> None:
        self.config, self.policies, self._step, self.shaping = config, policies, step, shaping
        self.clip = Clip(config.clip_low, config.clip_high, config.dual_clip)
        self.references = {name: lm.frozen() for name, lm in policies.items()} if config.kl else {}
        self.episodes: Sequence[Episode] = ()  # of the update
        self.update = 0  # its number, from 0
        self.steered = dict.fromkeys(policies, 0.0)  # log of the factor that holds the entropy at its target

    def each(self, name: str, batch: Batch, parts: Sequence[Tensor]) -> Metrics:
        """Take a step on each of these sets of episodes; return what the last one measured."""
        metrics: Metrics = {}
        for part in parts:
            metrics = self(name, batch.rows(torch.isin(batch.episode, part.to(batch.episode.device))))
        return metrics

    def __call__(self, name: str, batch: Batch) -> Metrics:
        """Take one step; the rows go through in micro-batches with one common denominator."""
        cfg, lm = self.config, self.policies[name]
        lm.train()
        n, weights = max(batch.tokens, 1), self.weights(batch)
        total: dict[str, float] = dict.fromkeys(WATCHED, 0.0)
        for rows in batch.parts(cfg.micro_batch):
            micro = batch.rows(rows)
            at = micro.trained
            w = weights[rows, : at.shape[1]][at]
            logp, entropy = self.score(lm, micro)
            policy = self.surrogate(logp, micro, w)
            bonus = self.bonus(name, entropy.detach(), lm.choices[micro.mask_rows[at]].log(), micro.said[at])
            loss = policy.loss - (w * bonus * entropy).sum()
            if self.references and cfg.kl_in == "loss":
                apart = divergence(logp, self.reference(name, micro), micro.logp_old[at]) * self.concerned(micro)
                loss = loss + cfg.kl * (w * apart).sum()
                total["divergence"] += float((w * apart.detach()).sum())
            if not loss.isfinite():
                wrong = micro.episode[:, None].expand_as(at)[at][~(logp + entropy).isfinite()].tolist()
                where = f" in episode {self.episodes[wrong[0]].log.episode}" if wrong and self.episodes else ""
                raise FloatingPointError(f"the loss of {name} is {float(loss.detach())}{where}")
            loss.backward()  # type: ignore[no-untyped-call]
            total["loss"] += float(loss.detach())
            total["entropy"] += float(entropy.detach().sum()) / n
            total["entropy_weight"] += float(bonus.sum()) / n
            total["kl"] += float((policy.ratio - 1 - policy.ratio.log()).sum()) / n  # k3, Schulman 2020
            total["clipped"] += float(policy.clipped) / n
        if not self.references:
            del total["divergence"]
        if cfg.shaping.listening:
            heard = self.shaping.listening(name, [self.episodes[e] for e in sorted(set(batch.episode.tolist()))])
            heard.backward()  # type: ignore[no-untyped-call]
            total["listening"] = float(heard.detach())
            self._step(f"belief {name}", self.shaping.heads[name], cfg.max_grad_norm)
        total["grad"] = self._step(name, lm.learner, cfg.max_grad_norm)
        self.steer(name, batch, total["entropy"])
        return {f"policy/{name}/{what}": value for what, value in total.items()}

    def score(self, lm: LanguageModel, batch: Batch) -> Scores:
        """Score the trained tokens [N] of a batch, in bfloat16 if so configured."""
        with torch.autocast(batch.ids.device.type, torch.bfloat16, enabled=self.config.autocast):
            return lm.score(batch.ids, batch.trained, batch.mask_rows[batch.trained])

    def surrogate(self, logp: Tensor, micro: Batch, weight: Tensor) -> PolicyLoss:
        """Return the clipped surrogate with the configured kind of ratio."""
        at = micro.trained
        given = (logp, micro.logp_old[at], micro.advantage[at], weight, self.clip)
        if self.config.ratio == "token":
            return ppo_clip(*given)
        return (sequence_clip if self.config.ratio == "sequence" else geometric_clip)(*given, micro.reply[at])

    def weights(self, batch: Batch) -> Tensor:
        """Return w [B, T], 0 where nothing is trained."""
        trained = batch.trained
        if self.config.per == "token":
            return trained / max(batch.tokens, 1)
        _, place, count = torch.unique(batch.reply[trained], return_inverse=True, return_counts=True)
        each = 1 / count[place] if self.config.per == "reply" else torch.full_like(place, 1) / self.config.longest
        weights = torch.zeros_like(batch.logp_old)
        weights[trained] = (each / max(len(count), 1)).to(weights.dtype)
        return weights

    def bonus(self, name: str, entropy: Tensor, most: Tensor, said: Tensor) -> Tensor:
        """Return the weight c [N] of each token's entropy."""
        cfg = self.config
        weight = cfg.entropies.get(name, cfg.entropy).weight(entropy, most, self.update)
        if cfg.message_entropy is not None:
            weight = torch.where(said, cfg.message_entropy.weight(entropy, most, self.update), weight)
        return weight * float(np.exp(self.steered[name]))

    def steer(self, name: str, batch: Batch, entropy: float) -> None:
        """Move the factor on the entropy's weight, if its mean over tokens is to be held at a target."""
        target = self.config.entropies.get(name, self.config.entropy).target
        most = self.policies[name].choices[batch.mask_rows[batch.trained]]
        if target is not None and len(most):
            share = entropy / float(most.log().mean())
            self.steered[name] = float(np.clip(self.steered[name] + 0.3 * (target - share), -5.0, 5.0))

    def concerned(self, batch: Batch) -> Tensor:
        """Return 1 for trained tokens [N] that pay for divergence, 0 for others."""
        at = batch.trained
        return (batch.said[at] if self.config.kl_on == "said" else at[at]).float()

    @torch.no_grad()
    def reference(self, name: str, batch: Batch) -> Tensor:
        """Return the log-probabilities [N] of the trained tokens under the policy of the start."""
        lm = self.references[name]
        lm.mask_table = self.policies[name].mask_table
        return self.score(lm, batch).logp

    @torch.no_grad()
    def corrected(self, name: str, batch: Batch) -> tuple[Batch, Metrics]:
        """Measure ratios from the weights of now, and weigh replies by min(pi_now / pi_behaviour, cap) (TIS).

        The raw weights are reported before they are cut off (Espeholt et al. 2018; AReaL, Fu et al. 2025).
        """
        at, cap = batch.trained, self.config.behaviour_cap
        now = self.score(self.policies[name], batch).logp
        raw = (now - batch.logp_old[at]).exp()
        old, advantage = batch.logp_old.clone(), batch.advantage.clone()
        old[at], advantage[at] = now, advantage[at] * raw.clamp(max=cap)
        found = {"behaviour_ratio": float(raw.mean()), "behaviour_ratio_max": float(raw.max())} if len(raw) else {}
        metrics = {f"policy/{name}/{what}": value for what, value in found.items()}
        return replace(batch, logp_old=old, advantage=advantage), metrics

    def charge(self, episodes: Sequence[Episode], book: Ledger, seats: Mapping[str, str]) -> None:
        """Take each reply's divergence out of its agent's reward: r_k -= beta sum_t (log pi_old - log ref) (k1)."""
        if not self.references or self.config.kl_in != "reward":
            return
        nothing = np.zeros(book.actor.shape)
        for name, lm in self.policies.items():
            batch = collate(lm, episodes, [seat for seat, policy in seats.items() if policy == name], nothing)
            at = batch.trained
            apart = (batch.logp_old[at] - self.reference(name, batch)) * self.concerned(batch)
            e = batch.episode[:, None].expand_as(batch.turn)[at].cpu().numpy()
            k = batch.turn[at].cpu().numpy()
            np.subtract.at(book.rewards, (e, k, book.actor[e, k]), self.config.kl * apart.double().cpu().numpy())

    def one_by_one(self, batches: Mapping[str, Batch], book: Ledger, seed: int) -> Metrics:
        """Step agent after agent in a drawn order, each weighed by what the steps before did to the joint move.

        A_k of agent m is multiplied by the product, over agents that stepped before it and moved in the same stage, of
        pi_new / pi_old of their replies (HAPPO, Kuba et al. 2022, eq. 11).
        """
        metrics: Metrics = {}
        size = len(book.actor)
        factor = torch.ones(size, int(book.stage.max()) + 1, dtype=torch.float64)
        stage = torch.from_numpy(book.stage)
        for i in np.random.default_rng(seed).permutation(len(batches)):
            name = sorted(batches)[i]
            batch = batches[name]
            at = batch.trained
            e = batch.episode[:, None].expand_as(batch.turn)[at].cpu()
            s = stage[e, batch.turn[at].cpu()]
            advantage = batch.advantage.clone()
            advantage[at] *= factor[e, s].to(advantage)
            for _ in range(self.config.epochs):
                metrics |= self(name, replace(batch, advantage=advantage))
            with torch.no_grad():
                change = self.score(self.policies[name], batch).logp - batch.logp_old[at]
            log = torch.zeros_like(factor).index_put_((e, s), change.double().cpu(), accumulate=True)
            factor = factor * log.exp()
        return metrics

    def state(self) -> dict[str, Any]:
        """Return what lasts between updates, as JSON values."""
        return {"steered": self.steered}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        self.steered = {str(name): float(value) for name, value in state["steered"].items()}
