"""Configuration of the policy gradient trainer: critic, credit, objective, optimizers.

The settings are independent of each other. A `type` names a combination known from the literature; every other key
replaces the combination's. Settings that contradict each other are rejected before the first step.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import override

from marl.credit.arrays import Unit
from marl.credit.methods import CREDIT_METHODS, CreditMethod
from trainers.entropy import EntropyConfig
from trainers.trainer import Feature, TrainerConfig


class ShapingConfig(BaseModel):
    """Weights of the communication shaping terms; 0 leaves a term out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    influence: float = Field(default=0.0, description="reward for what a message changed in its listeners' replies")
    speaking: float = Field(default=0.0, description="reward for bringing listeners nearer to the hidden truth")
    listening: float = Field(default=0.0, ge=0, description="weight of the loss that predicts the hidden truth")
    others: int = Field(default=4, ge=1, description="messages that might have been said instead, drawn for each one")

    @property
    def terms(self) -> bool:
        """Whether any term counts."""
        return bool(self.influence or self.speaking or self.listening)

    @model_validator(mode="after")
    def _beliefs_are_learned(self) -> ShapingConfig:
        if self.speaking and not self.listening:
            raise ValueError("shaping.speaking pays for beliefs, which listening teaches: set listening above 0")
        return self


CriticScope = Literal["central", "joint", "graph", "own", "none"]
CreditName = Literal[
    "sequential",
    "team",
    "individual",
    "monte_carlo",
    "group",
    "agent_turn",
    "role",
    "leave_one_out",
    "vine",
    "difference",
    "counterfactual",
]
PRETRAINED_ROWS: Final = 8
"""Rows of a backward pass of a pretrained model, unless configured."""

ASSEMBLIES: Final[dict[str, dict[str, Any]]] = {
    # MAPPO with credit per message, telescoped over the log: the default.
    "mappo": {},
    # Yu et al. 2022: one advantage for all who move in a stage.
    "mappo_team": {"credit": "team"},
    # Kuba et al. 2022: agents step one after another, each weighed by the steps before it.
    "happo": {"credit": "team", "order": "one_by_one"},
    # de Witt et al. 2020: every agent alone.
    "ippo": {"critic": "own", "credit": "individual"},
    # Williams 1992, with the mean of the update as baseline.
    "reinforce": {"critic": "none", "credit": "monte_carlo"},
    # Foerster et al. 2018: the critic's value of what was done, less its mean over what the agent might have done.
    # All its credit is the critic's word, so the critic takes several steps, as there, and policies smaller ones.
    "coma": {"credit": "counterfactual", "critic_steps": 8, "critic_lr": 1e-3, "lr": 2.5e-4},
    # Liu et al. 2025 (MAGRPO): several episodes of each deal, each against the others.
    "magrpo": {"critic": "none", "credit": "group", "group": 8},
    # Zhao et al. 2025 (AT-GRPO): replies against others of the same agent to the very same prompt.
    "at_grpo": {"critic": "none", "credit": "agent_turn", "group": 8},
    # Liu et al. 2025 (SPIRAL): a running baseline for each role.
    "rae": {"critic": "none", "credit": "role", "normalise": False},
    # C3 2026: other futures of each decision, drawn by replay, are its baseline.
    "c3": {"critic": "none", "credit": "leave_one_out"},
    # Kazemnejad et al. 2025 (VinePPO): values are means over futures played from each decision.
    "vineppo": {"critic": "none", "credit": "vine", "lam": 0.0},
    # Liu et al. 2025 (Dr. GRPO): no division by deviation or by length.
    "dr_grpo": {"critic": "none", "credit": "group", "group": 8, "normalise": False, "per": "constant"},
    # Zheng et al. 2025: one ratio for a whole reply.
    "gspo": {"critic": "none", "credit": "group", "group": 8, "ratio": "sequence", "per": "reply"},
    # Zhao et al. 2025: the geometric mean of clipped ratios.
    "gmpo": {"critic": "none", "credit": "group", "group": 8, "ratio": "geometric", "per": "reply"},
}
TypeName = Literal[
    "mappo",
    "mappo_team",
    "happo",
    "ippo",
    "reinforce",
    "coma",
    "magrpo",
    "at_grpo",
    "rae",
    "c3",
    "vineppo",
    "dr_grpo",
    "gspo",
    "gmpo",
]


class AlgorithmConfig(TrainerConfig):
    """Settings of the policy gradient trainer; the defaults are the vetted algorithm."""

    type: TypeName = "mappo"
    critic: CriticScope = "central"
    credit: CreditName = "sequential"
    reward_sharing: float = Field(default=0.0, ge=0, le=1, description="share of the team's mean in every reward")
    gamma: float = Field(default=1.0, gt=0, le=1, description="discount")
    gamma_per: Unit = Field(default="round", description="what gamma is paid for: a round, or a simulated second")
    lam: float = Field(default=0.95, ge=0, le=1, description="lambda of the generalised advantage")
    credit_per: Literal["reply", "token"] = Field(default="reply", description="one advantage a reply, or one a token")
    group: int = Field(default=1, ge=1, description="episodes of an update that are dealt alike")
    forks: int = Field(default=4, ge=1, description="futures, or other replies, drawn for each decision")
    role_decay: float = Field(default=0.9, ge=0, lt=1, description="of a role's running baseline, per update")
    normalise: bool = Field(default=True, description="advantages to mean 0, deviation 1, per agent")
    ratio: Literal["token", "sequence", "geometric"] = "token"
    clip_low: float = Field(default=0.2, gt=0)
    clip_high: float = Field(default=0.2, gt=0)
    dual_clip: float | None = Field(default=None, gt=1, description="bound on the loss of bad replies")
    per: Literal["token", "reply", "constant"] = "token"
    longest: int = Field(default=16, ge=1, description='tokens of a full reply, for per = "constant"')
    entropy: EntropyConfig = EntropyConfig()
    entropies: dict[str, EntropyConfig] = Field(default_factory=dict, description="of single policies")
    message_entropy: EntropyConfig | None = Field(
        default=None, description="of messages, if it differs from that of moves"
    )
    kl: float = Field(default=0.0, ge=0, description="weight of the divergence from the policies of the start")
    kl_in: Literal["loss", "reward"] = "loss"
    kl_on: Literal["all", "said"] = Field(default="all", description="all replies, or messages alone")
    behaviour_cap: float | None = Field(default=None, gt=0, description="truncates importance weights of stale replies")
    stalest: int | None = Field(default=None, ge=0, description="updates after which replies are not trained any more")
    shaping: ShapingConfig = ShapingConfig()
    order: Literal["together", "one_by_one"] = "together"
    alternate: int = Field(default=0, ge=0, description="updates that one policy learns alone before the next; 0: all")
    frozen: tuple[str, ...] = Field(default=(), description="policies that do not learn")
    epochs: int = Field(default=1, ge=1)
    minibatches: int = Field(default=1, ge=1, description="optimizer steps per epoch")
    micro_batch: int = Field(default=4096, ge=1, description="rows per backward pass; changes nothing but memory")
    optimizer: Literal["adam", "sgd"] = Field(default="adam", description="of the policies; the critic has Adam")
    autocast: bool = Field(default=False, description="updates compute in bfloat16, on weights as they are")
    lr: float = Field(default=5e-4, gt=0)
    lrs: dict[str, float] = Field(default_factory=dict, description="step sizes of single policies")
    critic_lr: float = Field(default=5e-4, gt=0)
    critic_steps: int = Field(default=1, ge=1, description="steps of the critic for each one of the policies")
    lr_halving: int | None = Field(default=None, ge=1, description="updates in which the step sizes fall to half")
    value_norm: bool = Field(default=False, description="the critic predicts targets of mean 0 and deviation 1")
    max_grad_norm: float = Field(default=1.0, gt=0)
    critic_trunk: Literal["scratch", "policy"] = Field(
        default="scratch", description="what reads for the critic: a tiny model that learns, or the frozen base model"
    )
    critic_width: int = Field(default=64, ge=8)
    critic_layers: int = Field(default=2, ge=1)
    critic_heads: int = Field(default=4, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _assemble(cls, given: Any) -> Any:
        """Fill in the settings of the type where a key is missing."""
        return ASSEMBLIES.get(given.get("type", "mappo"), {}) | given if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _make_sense(self) -> AlgorithmConfig:
        method = self.credit_method
        if not method.needs_critic and self.critic != "none":
            raise ValueError(f'credit = "{self.credit}" has a baseline of its own: set critic = "none" with it')
        if method.needs_joint_values and self.critic not in ("central", "joint"):
            raise ValueError(
                f'credit = "{self.credit}" asks the critic about joint moves: critic = "central" or "joint"'
            )
        if self.credit_per == "token" and (self.critic in ("none", "graph") or not method.per_token):
            possible = ", ".join(name for name, other in CREDIT_METHODS.items() if other.per_token)
            raise ValueError(
                'credit_per = "token" asks a critic for values within replies: set critic to "central", "joint" or '
                f'"own" with it, and credit to one of {possible}'
            )
        if self.critic_trunk == "policy" and (self.critic in ("none", "graph") or self.credit_per == "token"):
            raise ValueError(
                'critic_trunk = "policy" values whole replies: set critic to "central", "joint" or "own" with it, and '
                'credit_per = "reply"'
            )
        if method.needs_groups and self.group < 2:
            raise ValueError(f'credit = "{self.credit}" compares episodes of one deal: set group to 2 or more')
        if self.kl and self.kl_in == "reward" and method.needs_forks:
            raise ValueError('this credit cannot have the KL penalty in the rewards of its forks: set kl_in = "loss"')
        if self.order == "one_by_one" and self.minibatches > 1:
            raise ValueError('order = "one_by_one" weighs whole updates: set minibatches = 1')
        return self

    @property
    def credit_method(self) -> CreditMethod:
        """The method named by `credit`."""
        return CREDIT_METHODS[self.credit]

    @property
    @override
    def deal_group(self) -> int:
        return self.group

    @property
    @override
    def policies_named(self) -> tuple[str, ...]:
        return (*self.frozen, *self.lrs, *self.entropies)

    @override
    def conflict(self, feature: Feature) -> str | None:
        method, shaping = self.credit_method, self.shaping
        if feature == "league" and method.needs_forks:
            return f'futures know no frozen opponents: leave out league, or credit = "{self.credit}"'
        if feature == "memory" and (method.needs_joint_values or shaping.terms):
            return (
                'credit = "counterfactual" and shaping read one context for a whole episode: leave out scenario.memory'
            )
        if feature == "pretrained" and (shaping.terms or self.credit_per == "token"):
            return 'policy.hf: shaping and credit_per = "token" are for models with one token a word: leave them out'
        return None


def with_pretrained_defaults(run: dict[str, Any]) -> dict[str, Any]:
    """Return a run's settings with a small `micro_batch` for pretrained models, unless they set one."""
    policy, algorithm = run.get("policy"), run.get("algorithm", {})
    if not isinstance(policy, dict) or "hf" not in policy or not isinstance(algorithm, dict):
        return run
    if algorithm.get("type", "mappo") not in ASSEMBLIES:
        return run
    return run | {"algorithm": {"micro_batch": PRETRAINED_ROWS, **algorithm}}
