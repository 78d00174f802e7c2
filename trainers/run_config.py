"""RunConfig: everything a training run depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, model_validator

from marl.policy.config import HfPolicy, PolicyConfig, Sharing, TinyPolicy
from marl.scenario.config import Scenario
from trainers.algorithm import AlgorithmConfig, with_pretrained_defaults
from trainers.algorithms.registry import algorithm_config
from trainers.population.curriculum import CurriculumConfig
from trainers.population.league import LeagueConfig
from trainers.population.newcomers import NewcomersConfig
from trainers.remote_actors import HostConfig
from trainers.trainer import TrainerConfig

Algorithm = Annotated[SerializeAsAny[AlgorithmConfig | TrainerConfig], BeforeValidator(algorithm_config)]
"""The settings of a registered algorithm: its class's own `Config`, chosen by `type`."""


class RunConfig(BaseModel):
    """Everything a run depends on: the same configuration gives the same bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scenario: Scenario
    seed: int = 1
    out: Annotated[Path, AfterValidator(Path.expanduser)] = Path("runs/quickstart")
    updates: int = Field(default=300, ge=1)
    episodes: int = Field(default=512, ge=1, description="episodes per update")
    evaluate_every: int = Field(default=10, ge=1, description="updates between evaluations")
    evaluate_episodes: int | None = Field(
        default=None,
        ge=1,
        description="most deals of an evaluation, of each split; all, or 256 random ones, if left out",
    )
    checkpoint_every: int = Field(default=50, ge=1, description="updates between checkpoints")
    stop_at: float | None = Field(default=None, description="stop once this share of evaluation episodes succeeds")
    stop_score: float | None = Field(default=None, description="stop once the evaluation's mean score is this high")
    log_episodes: int = Field(default=32, ge=0, description="training episodes of each update that are logged")
    policy: PolicyConfig = TinyPolicy()
    sharing: Sharing = Field(default="separate", description="which seats share a policy")
    init_from: Path | None = Field(default=None, description="a run whose newest policies give the initial weights")
    algorithm: Algorithm = AlgorithmConfig()
    threads: int = Field(
        default=1, ge=0, description="torch threads; 1 is best for tiny models, 0 leaves torch's own choice"
    )
    device: str = "cpu"
    curriculum: CurriculumConfig | None = Field(default=None, description="a parameter that grows with success")
    league: LeagueConfig | None = Field(default=None, description="frozen versions of the policies as opponents")
    newcomers: NewcomersConfig | None = Field(default=None, description="policies reset to fresh weights, in turn")
    host: HostConfig | None = Field(default=None, description="actors in other processes")

    @model_validator(mode="before")
    @classmethod
    def _pretrained_defaults(cls, settings: Any) -> Any:
        return with_pretrained_defaults(settings) if isinstance(settings, dict) else settings

    @model_validator(mode="after")
    def _whole_groups(self) -> RunConfig:
        group = self.algorithm.deal_group
        if self.episodes % group:
            raise ValueError(f"episodes ({self.episodes}) must be a multiple of algorithm.group ({group})")
        if self.host and isinstance(self.policy, HfPolicy):
            raise ValueError("policies on pretrained models are trained at home: leave out host, or policy.hf")
        if self.league and (reason := self.algorithm.conflict("league")):
            raise ValueError(reason)
        return self

    @model_validator(mode="after")
    def _memory_is_here(self) -> RunConfig:
        if self.scenario.memory and self.host:
            raise ValueError("seats in other processes see everything: leave out scenario.memory, or host")
        if self.scenario.memory and (reason := self.algorithm.conflict("memory")):
            raise ValueError(reason)
        return self
