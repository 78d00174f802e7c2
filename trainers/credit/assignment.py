"""Who earned what: from the episodes of an update to an advantage for each decision, and what the critic has to learn.

The equations are pure functions in marl/credit/estimators.py and marl/credit/baselines.py; here is what
they need: the critic's values, other futures, running baselines. `state` is what lasts from one update to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from marl import credit
from marl.credit import baselines
from marl.credit.arrays import Array, Credit, Ledger
from marl.critic.critic import Critic
from marl.episode import Episode
from marl.models.language_model import LanguageModel
from marl.policy.base import Seats
from protocols.draws import key
from trainers.algorithm import BY_CRITIC, BY_FORK, AlgorithmConfig
from trainers.checks import finite
from trainers.credit import counterfactual, forks, values


class Assigned(NamedTuple):
    """Advantages [E, K] or [E, K, J] and targets [E, K, N]; the critic's forward pass, for its first step."""

    credit: Credit
    forward: values.Forward | None = None
    futures: int = 0  # episodes played for the credit alone


class Assignment:
    """Assigns credit as an algorithm's configuration says.

    `live` and `play` are the run's policies and its way to play plans; only credit by fork needs them.
    """

    def __init__(
        self,
        config: AlgorithmConfig,
        critic: Critic | None,
        policies: Mapping[str, LanguageModel],
        seats: Mapping[str, str],
        seed: int,
    ) -> None:
        self.config, self.critic, self.seed = config, critic, seed
        self.policies, self.seats = policies, seats
        self.scale = values.Scale(config.value_norm)
        self.alarm = values.Alarm()
        self.roles: dict[int, float] = {}
        self.live: Seats = {}
        self.play: forks.Play | None = None

    def assign(self, episodes: Sequence[Episode], book: Ledger, update: int) -> Assigned:
        """Give credit for the episodes of an update, the run's `update`-th."""
        cfg = self.config
        if cfg.credit in BY_FORK:
            return self._by_fork(episodes, book)
        if cfg.credit not in BY_CRITIC:
            baseline = self._baseline(episodes, book)
            return Assigned(credit.monte_carlo(book, baseline, 1.0))
        table, forward = self.values(episodes, book, update)
        if cfg.credit != "counterfactual":
            given = credit.CREDITS[cfg.credit](book, table, cfg.lam)
            if cfg.credit_per == "token" and forward is not None:
                given = replace(given, advantage=values.by_token(forward, given, book, episodes, self.scale))
            return Assigned(given, forward)
        scored = credit.sequential(book, table, cfg.lam)
        advantage = self._counterfactual(episodes, book, update)
        return Assigned(Credit(np.where(np.isnan(scored.advantage), np.nan, advantage), scored.target), forward)

    def values(self, episodes: Sequence[Episode], book: Ledger, update: int) -> tuple[Array, values.Forward | None]:
        """Return V [E, K + 1, N], zeros without a critic; and the forward pass it came from."""
        size, count, agents = book.rewards.shape
        if self.critic is None:
            return np.zeros((size, count + 1, agents)), None
        with torch.set_grad_enabled(self.config.minibatches == 1):
            table, forward = values.read(self.critic, episodes, (size, count + 1, agents), self.scale)
        return finite(table, f"the critic's values in update {update}", episodes), forward

    def _baseline(self, episodes: Sequence[Episode], book: Ledger) -> Array:
        if self.config.credit == "group":
            dealt = [str(episode.log.deal.get("like", episode.log.episode)) for episode in episodes]
            return baselines.group(book, np.unique(dealt, return_inverse=True)[1].astype(np.int64))
        if self.config.credit == "agent_turn":
            return baselines.agent_turn(book, baselines.prompts(episodes, book.actor.shape[1]))
        before = baselines.role(book, self.roles)  # read before it is moved: no return is its own baseline
        keep = self.config.role_decay
        for i, mean in enumerate(baselines.to_go(book)[:, 0].mean(0).tolist()):
            self.roles[i] = keep * self.roles[i] + (1 - keep) * mean if i in self.roles else mean
        return before

    def _by_fork(self, episodes: Sequence[Episode], book: Ledger) -> Assigned:
        cfg = self.config
        if self.play is None:
            raise ValueError(f"credit {cfg.credit!r} plays other futures: give the assignment `live` and `play`")
        if cfg.credit == "difference":
            table = forks.defaults(episodes, book, self.live, self.play, (cfg.gamma, cfg.gamma_per))
        else:
            table = forks.futures(episodes, book, self.live, self.play, cfg.forks, (cfg.gamma, cfg.gamma_per))
        estimate: Callable[[Ledger, Array, float], Credit]
        estimate = credit.sequential if cfg.credit == "vine" else credit.monte_carlo
        count = sum(len(episode.turns) for episode in episodes) * (1 if cfg.credit == "difference" else cfg.forks)
        return Assigned(estimate(book, table, cfg.lam), None, count)

    def _counterfactual(self, episodes: Sequence[Episode], book: Ledger, update: int) -> Array:
        assert self.critic is not None  # the configuration was checked
        others = counterfactual.alternatives(
            episodes, self.policies, self.seats, self.config.forks, key(self.seed, update)
        )
        found = counterfactual.advantages(self.critic, episodes, others, book.actor.shape[1])
        return found * (self.scale.deviation if self.scale.on else 1.0)

    def state(self) -> dict[str, Any]:
        """Return what lasts between updates, as JSON values."""
        return {
            "scale": self.scale.sums,
            "roles": {str(i): v for i, v in self.roles.items()},
            "silent": self.alarm.silent,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        self.scale.sums = [float(value) for value in state["scale"]]
        self.roles = {int(i): float(v) for i, v in state["roles"].items()}
        self.alarm.silent = int(state["silent"])
