"""Credit methods: small classes that declare what they need, and turn evidence into advantages.

`CREDIT_METHODS` is the one table: configurations are validated by what a method declares, and trainers gather the
`Evidence` that its `assign` asks for. The equations are pure functions in estimators.py and baselines.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from marl.credit import baselines, estimators
from marl.credit.arrays import Array, Credit, EpisodeArrays


class Evidence(Protocol):
    """What a method may ask for beside rewards; each is computed when asked for, and costs what it costs."""

    def critic_values(self) -> Array:
        """V [E, K + 1, N] of the critic; zeros without one."""

    def joint_advantages(self) -> Array:
        """Q(joint move) less its mean over the agent's other replies, by the critic: [E, K]."""

    def future_returns(self) -> Array:
        """Mean return [E, K + 1, N] over futures drawn anew at each decision."""

    def default_returns(self) -> Array:
        """Return [E, K + 1, N] had the agent given its default reply."""

    def deals(self) -> NDArray[np.int64]:
        """Number of each episode's deal: [E]."""

    def prompts(self) -> NDArray[np.int64]:
        """Number of each decision's prompt: [E, K]."""

    def role_returns(self) -> Mapping[int, float]:
        """Running mean return of each agent, from before this update."""


class CreditMethod(ABC):
    """Rewards and evidence -> advantages and value targets. The attributes declare what a method needs."""

    needs_critic: ClassVar[bool] = False
    """The baseline is the critic's (V = 0 without one); without this flag a method has a baseline of its own."""
    needs_joint_values: ClassVar[bool] = False
    """The critic must value joint moves: scope "central" or "joint"."""
    needs_forks: ClassVar[bool] = False
    """Other futures of each decision are played."""
    needs_groups: ClassVar[bool] = False
    """Several episodes are played of each deal."""
    needs_role_returns: ClassVar[bool] = False
    """A running mean of each agent's return is kept between updates."""
    per_token: ClassVar[bool] = False
    """The advantages of a reply can be split over its tokens, by values within replies."""

    @abstractmethod
    def assign(self, arrays: EpisodeArrays, evidence: Evidence, lam: float) -> Credit:
        """Return advantages [E, K] and targets [E, K, N]; `lam` is lambda of the generalised advantage."""


class Sequential(CreditMethod):
    """Credit telescoped over the log; right as the default: each message gets its own credit, also within a stage.

    A_k = delta_k + d_k lambda A_{k+1},    delta_k = r_k + d_k V_{k+1} - V_k
    """

    needs_critic = per_token = True

    @override
    def assign(self, arrays: EpisodeArrays, evidence: Evidence, lam: float) -> Credit:
        return estimators.sequential(arrays, evidence.critic_values(), lam)


class Team(CreditMethod):
    """One advantage for all who move in a stage (MAPPO); right when simultaneous moves count only together.

    A_s = sum_{k in s} r_k + gamma V_{s+1} - V_s + gamma lambda A_{s+1}
    """

    needs_critic = per_token = True

    @override
    def assign(self, arrays: EpisodeArrays, evidence: Evidence, lam: float) -> Credit:
        return estimators.team(arrays, evidence.critic_values(), lam)


class Individual(CreditMethod):
    """Each agent alone, from its decision to its next (IPPO); right for independent learners with rewards of their own.

    A_j = delta_j + d_j lambda A_{j+1} over the decisions k_1 < k_2 < ... of one agent
    """

    needs_critic = per_token = True

    @override
    def assign(self, arrays: EpisodeArrays, evidence: Evidence, lam: float) -> Credit:
        return estimators.individual(arrays, evidence.critic_values(), lam)


class MonteCarlo(CreditMethod):
    """Whole returns against the value; right for short episodes, or where no critic is to be trusted.

    A_k = sum_{l >= k} (discounted r_l) - V_k
    """

    needs_critic = per_token = True

    @override
    def assign(self, arrays: EpisodeArrays, evidence: Evidence, lam: float) -> Credit:
        return estimators.monte_carlo(arrays, evidence.critic_values(), lam)


class Counterfactual(CreditMethod):
    """COMA (Foerster et al. 2018); right with a critic that knows joint moves well and many agents who move at once.

    A_k = Q_i(h, u) - 1/M sum_m Q_i(h, (u without i, a_m)),    a_m ~ pi_i; the targets are those of `Sequential`
    """

    needs_critic = needs_joint_values = True

    @override
    def assign(self, arrays: EpisodeArrays, evidence: Evidence, lam: float) -> Credit:
        scored = estimators.sequential(arrays, evidence.critic_values(), lam)
        advantage = np.where(np.isnan(scored.advantage), np.nan, evidence.joint_advantages())
        return Credit(advantage, scored.target)


class Group(CreditMethod):
    """Other episodes of the same deal as baseline (MAGRPO); right without a critic, where deals can be repeated.

    A_k = G_k - 1/(G - 1) sum_{e' != e} G_e'(stage of k)
    """

    needs_groups = True

    @override
    def assign(self, arrays: EpisodeArrays, evidence: Evidence, lam: float) -> Credit:
        return estimators.monte_carlo(arrays, baselines.group(arrays, evidence.deals()), 1.0)


class AgentTurn(CreditMethod):
    """Other replies to the very same prompt as baseline (AT-GRPO); right without a critic, where prompts recur.

    A_k = G_k - mean G of the agent's other replies to the prompt of k; 0 where the prompt occurs once
    """

    @override
    def assign(self, arrays: EpisodeArrays, evidence: Evidence, lam: float) -> Credit:
        return estimators.monte_carlo(arrays, baselines.agent_turn(arrays, evidence.prompts()), 1.0)


class Role(CreditMethod):
    """Running mean return of each seat as baseline (RAE, SPIRAL); right for self-play with unequal seats.

    A_k = G_k - b_i,    b_i <- decay b_i + (1 - decay) mean G of agent i, after the update's credit
    """

    needs_role_returns = True

    @override
    def assign(self, arrays: EpisodeArrays, evidence: Evidence, lam: float) -> Credit:
        return estimators.monte_carlo(arrays, baselines.role(arrays, evidence.role_returns()), 1.0)


class LeaveOneOut(CreditMethod):
    """Mean return of other futures of a decision as baseline (C3); right without a critic, where replays are cheap.

    A_k = G_k - 1/M sum_m G(future m of decision k)
    """

    needs_forks = True

    @override
    def assign(self, arrays: EpisodeArrays, evidence: Evidence, lam: float) -> Credit:
        return estimators.monte_carlo(arrays, evidence.future_returns(), lam)


class Vine(CreditMethod):
    """Other futures as values (VinePPO); right in long episodes, where replays are cheap and critics err.

    A_k as in `Sequential`, with V_k = 1/M sum_m G(future m of decision k)
    """

    needs_forks = True

    @override
    def assign(self, arrays: EpisodeArrays, evidence: Evidence, lam: float) -> Credit:
        return estimators.sequential(arrays, evidence.future_returns(), lam)


class Difference(CreditMethod):
    """Difference rewards (Wolpert & Tumer 2002); right where a reply may be left out and the default means that.

    A_k = G_k - G(the default reply in place of reply k)
    """

    needs_forks = True

    @override
    def assign(self, arrays: EpisodeArrays, evidence: Evidence, lam: float) -> Credit:
        return estimators.monte_carlo(arrays, evidence.default_returns(), lam)


CREDIT_METHODS: Final[dict[str, CreditMethod]] = {
    "sequential": Sequential(),
    "team": Team(),
    "individual": Individual(),
    "monte_carlo": MonteCarlo(),
    "group": Group(),
    "agent_turn": AgentTurn(),
    "role": Role(),
    "leave_one_out": LeaveOneOut(),
    "vine": Vine(),
    "difference": Difference(),
    "counterfactual": Counterfactual(),
}
