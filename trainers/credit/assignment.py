"""Credit assignment: advantages for each decision and value targets.

The equations are pure functions and methods in marl/credit; here is the evidence they ask for: the critic's values,
other futures, running means. `state` is what is kept from one update to the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from marl.credit import baselines
from marl.credit.arrays import Array, Credit, EpisodeArrays
from marl.critic.critic import Critic
from marl.episode import Episode
from marl.models.language_model import LanguageModel
from marl.policy.base import Seats
from protocols.draws import key
from trainers.algorithm import AlgorithmConfig
from trainers.checks import check_finite
from trainers.credit import counterfactual, forks, values
from trainers.trainer import Play


class Assigned(NamedTuple):
    """Advantages [E, K] or [E, K, J] and targets [E, K, N]; the critic's forward pass, for its first step."""

    credit: Credit
    forward: values.Forward | None = None
    futures: int = 0  # episodes played for the credit alone


class Assignment:
    """Credit assignment of an algorithm, with the state that its method keeps between updates."""

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
        self.method = config.credit_method
        self.scale = values.Scale(config.value_norm)
        self.alarm = values.Alarm()
        self.roles: dict[int, float] = {}
        self.live: Seats = {}
        self.play: Play | None = None

    def bind(self, play: Play, live: Seats) -> None:
        """Set how plans are played, and by whom; only methods that fork need it."""
        self.play, self.live = play, live

    def assign(self, episodes: Sequence[Episode], arrays: EpisodeArrays, update: int) -> Assigned:
        """Assign credit to the episodes of the run's `update`-th update."""
        gathered = Gathered(self, episodes, arrays, update)
        credit = self.method.assign(arrays, gathered, self.config.lam)
        if self.config.credit_per == "token" and gathered.forward is not None:
            by_token = values.by_token(gathered.forward, credit, arrays, episodes, self.scale)
            credit = replace(credit, advantage=by_token)
        if self.method.needs_role_returns:
            self._observe_roles(arrays)
        return Assigned(credit, gathered.forward, gathered.futures)

    def values(
        self, episodes: Sequence[Episode], arrays: EpisodeArrays, update: int
    ) -> tuple[Array, values.Forward | None]:
        """Return V [E, K + 1, N], zeros without a critic; and the forward pass it came from."""
        size, count, agents = arrays.rewards.shape
        if self.critic is None:
            return np.zeros((size, count + 1, agents)), None
        with torch.set_grad_enabled(self.config.minibatches == 1):
            table, forward = values.read(self.critic, episodes, (size, count + 1, agents), self.scale)
        check_finite(table, f"the critic's values in update {update}", episodes)
        return table, forward

    def _observe_roles(self, arrays: EpisodeArrays) -> None:
        """Move the running mean return of each agent, after it was read: no return is its own baseline."""
        decay = self.config.role_decay
        for i, mean in enumerate(baselines.to_go(arrays)[:, 0].mean(0).tolist()):
            self.roles[i] = decay * self.roles[i] + (1 - decay) * mean if i in self.roles else mean

    def state(self) -> dict[str, Any]:
        """Return what is kept between updates, as JSON values."""
        return {
            "scale": self.scale.sums,
            "roles": {str(i): mean for i, mean in self.roles.items()},
            "silent": self.alarm.silent,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Load what `state` returned."""
        sums = [float(value) for value in state["scale"]]
        if len(sums) != len(self.scale.sums):
            raise ValueError(f"it has {len(sums)} sums of the value scale, not {len(self.scale.sums)}")
        self.scale.sums = sums
        self.roles = {int(i): float(mean) for i, mean in state["roles"].items()}
        self.alarm.silent = int(state["silent"])


class Gathered:
    """The evidence of one update for a credit method: `marl.credit.methods.Evidence`, gathered on demand."""

    def __init__(self, assignment: Assignment, episodes: Sequence[Episode], arrays: EpisodeArrays, update: int) -> None:
        self._assignment, self._episodes, self._arrays, self._update = assignment, episodes, arrays, update
        self.forward: values.Forward | None = None
        self.futures = 0

    def critic_values(self) -> Array:
        """V [E, K + 1, N] of the critic; zeros without one."""
        table, self.forward = self._assignment.values(self._episodes, self._arrays, self._update)
        return table

    def joint_advantages(self) -> Array:
        """Q(joint move) less its mean over the agent's other replies, by the critic: [E, K]."""
        own = self._assignment
        assert own.critic is not None  # the configuration was checked
        others = counterfactual.alternatives(
            self._episodes, own.policies, own.seats, own.config.forks, key(own.seed, self._update)
        )
        gaps = counterfactual.advantages(own.critic, self._episodes, others, self._arrays.actor.shape[1])
        return gaps * (own.scale.deviation if own.scale.on else 1.0)

    def future_returns(self) -> Array:
        """Mean return [E, K + 1, N] over futures drawn anew at each decision."""
        return self._forked(forks.future_plans(self._episodes, self._assignment.live, self._assignment.config.forks))

    def default_returns(self) -> Array:
        """Return [E, K + 1, N] had the agent given its default reply."""
        return self._forked(forks.default_plans(self._episodes, self._assignment.live))

    def _forked(self, plans: forks.Forks) -> Array:
        own = self._assignment
        if own.play is None:
            raise ValueError(f"credit {own.config.credit!r} plays other futures: call bind(play, live) first")
        played = own.play(plans.plans)
        self.futures = len(played)
        return forks.mean_returns(self._arrays, plans, played, (own.config.gamma, own.config.gamma_per))

    def deals(self) -> NDArray[np.int64]:
        """Number of each episode's deal: [E]."""
        names = [str(episode.log.deal.get("like", episode.log.episode)) for episode in self._episodes]
        return np.unique(names, return_inverse=True)[1].astype(np.int64)

    def prompts(self) -> NDArray[np.int64]:
        """Number of each decision's prompt: [E, K]."""
        return baselines.prompts(self._episodes, self._arrays.actor.shape[1])

    def role_returns(self) -> Mapping[int, float]:
        """Running mean return of each agent, from before this update."""
        return self._assignment.roles
