"""Policy step: the objective of a batch, token by token, and one optimizer step.

L = - sum_t w_t [min(rho_t A_t, clip(rho_t) A_t) + c_t H_t - beta KL_t]       losses.py, entropy.py

w_t makes the mean: 1/n over the n trained tokens of the step (`per = "token"`), 1/(R n_r) over the tokens of each of R
replies ("reply"), or 1/(R longest), the same however long replies are ("constant": Dr. GRPO, Liu et al. 2025).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from marl.credit.arrays import Array, EpisodeArrays
from marl.episode import Episode
from marl.models.language_model import LanguageModel, Scores
from trainers.algorithm import AlgorithmConfig
from trainers.batch import Batch, collate
from trainers.checks import SAMPLES, SMALLER_STEPS, NotFiniteError
from trainers.credit.shaping import Shaping
from trainers.losses import Clip, PolicyLoss, divergence, geometric_clip, ppo_clip, sequence_clip
from trainers.trainer import Metrics

Step = Callable[[str, nn.Module, float], float]
LEAST: Final = -80.0
"""Log-probabilities below are of words that are never drawn."""
RATIOS: Final = (1e-37, 1e30)
"""Ratios beyond are counted as these in the metric `kl`."""
WATCHED = ("loss", "entropy", "entropy_weight", "kl", "clipped", "divergence")


class PolicyStep:
    """Optimizer steps of policies; `step` clips the gradient and moves the weights."""

    def __init__(
        self, config: AlgorithmConfig, policies: Mapping[str, LanguageModel], step: Step, shaping: Shaping
    ) -> None:
        self.config, self.policies, self._step, self.shaping = config, policies, step, shaping
        self.clip = Clip(config.clip_low, config.clip_high, config.dual_clip)
        self.references = {name: lm.frozen() for name, lm in policies.items()} if config.kl else {}
        self.steered = dict.fromkeys(policies, 0.0)  # log of the factor that holds the entropy at its target

    def run(
        self, name: str, batch: Batch, parts: Sequence[Tensor], episodes: Sequence[Episode], update: int
    ) -> Metrics:
        """Take a step on each of these sets of episodes; return the metrics of the last step."""
        metrics: Metrics = {}
        for part in parts:
            rows = batch.rows(torch.isin(batch.episode, part.to(batch.episode.device)))
            metrics = self(name, rows, episodes, update)
        return metrics

    def __call__(self, name: str, batch: Batch, episodes: Sequence[Episode], update: int) -> Metrics:
        """Take one step; the rows go through in micro-batches with one common denominator.

        `episodes` are those of the whole update, `update` its number, from 0.
        """
        cfg, lm = self.config, self.policies[name]
        lm.train()
        n, weights = max(batch.tokens, 1), self.weights(batch)
        total: dict[str, float] = dict.fromkeys(WATCHED, 0.0)
        for rows in batch.parts(cfg.micro_batch):
            micro = batch.rows(rows)
            at = micro.trained
            w = weights[rows, : at.shape[1]][at]
            logprobs, entropy = self.score(lm, micro)
            policy = self.surrogate(logprobs, micro, w)
            most = lm.choices[micro.mask_rows[at]].log()
            bonus = self.bonus(name, entropy.detach(), most, micro.said[at], update)
            loss = policy.loss - (w * bonus * entropy).sum()
            if self.references and cfg.kl_in == "loss":
                kl = divergence(logprobs, self.reference(name, micro), micro.behavior_logprobs[at])
                kl = kl * self.penalised(micro)
                loss = loss + cfg.kl * (w * kl).sum()
                total["divergence"] += float((w * kl.detach()).sum())
            if not (loss.isfinite() & logprobs.isfinite().all()):  # a forbidden token may leave the loss finite
                raise self._not_finite(name, float(loss.detach()), micro, logprobs + entropy, episodes)
            loss.backward()  # type: ignore[no-untyped-call]
            total["loss"] += float(loss.detach())
            total["entropy"] += float(entropy.detach().sum()) / n
            total["entropy_weight"] += float(bonus.sum()) / n
            ratio = policy.ratio.clamp(RATIOS[0], RATIOS[1])  # so that one that overflows leaves a number
            total["kl"] += float((ratio - 1 - ratio.log()).sum()) / n  # k3, Schulman 2020
            total["clipped"] += float(policy.clipped) / n
        if not self.references:
            del total["divergence"]
        if cfg.shaping.listening:
            listening = self.shaping.listening(name, [episodes[e] for e in sorted(set(batch.episode.tolist()))])
            listening.backward()  # type: ignore[no-untyped-call]
            total["listening"] = float(listening.detach())
            self._step(f"belief {name}", self.shaping.heads[name], cfg.max_grad_norm)
        total["grad"] = self._step(name, lm.learner, cfg.max_grad_norm)
        self.steer(name, batch, total["entropy"])
        return {f"policy/{name}/{what}": value for what, value in total.items()}

    @staticmethod
    def _not_finite(
        name: str, loss: float, micro: Batch, scores: Tensor, episodes: Sequence[Episode]
    ) -> NotFiniteError:
        """Return the error of a loss that is no number; `scores` [N] are NaN or inf where the weights give none."""
        at = micro.trained
        behavior = micro.behavior_logprobs[at]
        impossible = ~behavior.isfinite() | (behavior < LEAST) | scores.isneginf()
        wrong = impossible | ~scores.isfinite()
        first = micro.episode[:, None].expand_as(at)[at][wrong].tolist()[:1]
        where = "".join(f" in episode {episodes[e].log.episode}" for e in first)
        return NotFiniteError(f"the loss of {name} is {loss}{where}", SAMPLES if impossible.any() else SMALLER_STEPS)

    def score(self, lm: LanguageModel, batch: Batch) -> Scores:
        """Score the trained tokens [N] of a batch, in bfloat16 if so configured."""
        with torch.autocast(batch.ids.device.type, torch.bfloat16, enabled=self.config.autocast):
            return lm.score(batch.ids, batch.trained, batch.mask_rows[batch.trained])

    def surrogate(self, logprobs: Tensor, micro: Batch, weight: Tensor) -> PolicyLoss:
        """Return the clipped surrogate with the configured kind of ratio."""
        at = micro.trained
        terms = (logprobs, micro.behavior_logprobs[at], micro.advantage[at], weight, self.clip)
        if self.config.ratio == "token":
            return ppo_clip(*terms)
        return (sequence_clip if self.config.ratio == "sequence" else geometric_clip)(*terms, micro.reply[at])

    def weights(self, batch: Batch) -> Tensor:
        """Return w [B, T], 0 where nothing is trained."""
        trained = batch.trained
        if self.config.per == "token":
            return trained / max(batch.tokens, 1)
        _, reply, count = torch.unique(batch.reply[trained], return_inverse=True, return_counts=True)
        share = 1 / count[reply] if self.config.per == "reply" else torch.full_like(reply, 1) / self.config.longest
        weights = torch.zeros_like(batch.behavior_logprobs)
        weights[trained] = (share / max(len(count), 1)).to(weights.dtype)
        return weights

    def bonus(self, name: str, entropy: Tensor, most: Tensor, said: Tensor, update: int) -> Tensor:
        """Return the weight c [N] of each token's entropy."""
        cfg = self.config
        weight = cfg.entropies.get(name, cfg.entropy).weight(entropy, most, update)
        if cfg.message_entropy is not None:
            weight = torch.where(said, cfg.message_entropy.weight(entropy, most, update), weight)
        return weight * float(np.exp(self.steered[name]))

    def steer(self, name: str, batch: Batch, entropy: float) -> None:
        """Move the factor on the entropy's weight towards the target of its mean over tokens, if there is one."""
        target = self.config.entropies.get(name, self.config.entropy).target
        most = self.policies[name].choices[batch.mask_rows[batch.trained]]
        if target is not None and len(most):
            share = entropy / float(most.log().mean())
            self.steered[name] = float(np.clip(self.steered[name] + 0.3 * (target - share), -5.0, 5.0))

    def penalised(self, batch: Batch) -> Tensor:
        """Mask [N] of trained tokens included in the KL penalty."""
        at = batch.trained
        return (batch.said[at] if self.config.kl_on == "said" else at[at]).float()

    @torch.no_grad()
    def reference(self, name: str, batch: Batch) -> Tensor:
        """Return the log-probabilities [N] of the trained tokens under the initial policy."""
        lm = self.references[name]
        lm.mask_table = self.policies[name].mask_table
        return self.score(lm, batch).logp

    @torch.no_grad()
    def corrected(self, name: str, batch: Batch) -> tuple[Batch, Metrics]:
        """Measure ratios from the current weights, and weigh replies by min(pi_now / pi_behaviour, cap) (TIS).

        The metrics are of the weights before they are capped (Espeholt et al. 2018; AReaL, Fu et al. 2025).
        """
        at, cap = batch.trained, self.config.behaviour_cap
        now = self.score(self.policies[name], batch).logp
        raw = (now - batch.behavior_logprobs[at]).exp()
        behavior_logprobs, advantage = batch.behavior_logprobs.clone(), batch.advantage.clone()
        behavior_logprobs[at], advantage[at] = now, advantage[at] * raw.clamp(max=cap)
        metrics: Metrics = {}
        if len(raw):
            metrics[f"policy/{name}/behaviour_ratio"] = float(raw.mean())
            metrics[f"policy/{name}/behaviour_ratio_max"] = float(raw.max())
        return replace(batch, behavior_logprobs=behavior_logprobs, advantage=advantage), metrics

    def kl_penalised(self, arrays: EpisodeArrays, episodes: Sequence[Episode], seats: Mapping[str, str]) -> Array:
        """Return rewards less each reply's divergence: r_k - beta sum_t (log pi_old - log ref) (k1)."""
        if not self.references or self.config.kl_in != "reward":
            return arrays.rewards
        rewards = arrays.rewards.copy()
        everything = np.zeros(arrays.actor.shape)  # any advantage that is not NaN: all replies are laid out
        for name, lm in self.policies.items():
            batch = collate(lm, episodes, [seat for seat, policy in seats.items() if policy == name], everything)
            at = batch.trained
            kl = (batch.behavior_logprobs[at] - self.reference(name, batch)) * self.penalised(batch)
            e = batch.episode[:, None].expand_as(batch.turn)[at].cpu().numpy()
            k = batch.turn[at].cpu().numpy()
            np.subtract.at(rewards, (e, k, arrays.actor[e, k]), self.config.kl * kl.double().cpu().numpy())
        return rewards

    def one_by_one(
        self,
        batches: Mapping[str, Batch],
        arrays: EpisodeArrays,
        episodes: Sequence[Episode],
        update: int,
        seed: int,
    ) -> Metrics:
        """Step agent after agent in a drawn order, each weighed by the change of the joint move before it.

        A_k of agent m is multiplied by the product, over agents that stepped before it and moved in the same stage, of
        pi_new / pi_old of their replies (HAPPO, Kuba et al. 2022, eq. 11).
        """
        metrics: Metrics = {}
        size = len(arrays.actor)
        factor = torch.ones(size, int(arrays.stage.max()) + 1, dtype=torch.float64)
        stage = torch.tensor(arrays.stage)
        for i in np.random.default_rng(seed).permutation(len(batches)):
            name = sorted(batches)[i]
            batch = batches[name]
            at = batch.trained
            e = batch.episode[:, None].expand_as(batch.turn)[at].cpu()
            s = stage[e, batch.turn[at].cpu()]
            advantage = batch.advantage.clone()
            advantage[at] *= factor[e, s].to(advantage)
            for _ in range(self.config.epochs):
                metrics |= self(name, replace(batch, advantage=advantage), episodes, update)
            with torch.no_grad():
                change = self.score(self.policies[name], batch).logp - batch.behavior_logprobs[at]
            log = torch.zeros_like(factor).index_put_((e, s), change.double().cpu(), accumulate=True)
            factor = factor * log.exp()
        return metrics

    def state(self) -> dict[str, Any]:
        """Return what is kept between updates, as JSON values."""
        return {"steered": self.steered}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Load what `state` returned."""
        steered = {str(name): float(value) for name, value in state["steered"].items()}
        if steered.keys() != self.steered.keys():
            raise ValueError(f"it steers {', '.join(steered) or 'nothing'}, not {', '.join(self.steered)}")
        self.steered = steered
