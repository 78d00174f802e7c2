"""RunConfig: everything a training run depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from marl.policy.config import HfPolicy, PolicyConfig, Sharing, TinyPolicy
from marl.scenario.config import Scenario
from trainers.algorithm import BY_FORK, AlgorithmConfig, small_parts
from trainers.population.curriculum import CurriculumConfig
from trainers.population.league import LeagueConfig
from trainers.population.newcomers import NewcomersConfig
from trainers.remote_actors import HostConfig


class RunConfig(BaseModel):
    """Everything a run depends on: the same configuration gives the same bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scenario: Scenario
    seed: int = 1
    out: Path = Path("runs/quickstart")
    updates: int = Field(default=300, ge=1)
    episodes: int = Field(default=512, ge=1, description="episodes per update")
    evaluate_every: int = Field(default=10, ge=1, description="updates between evaluations")
    checkpoint_every: int = Field(default=50, ge=1, description="updates between checkpoints")
    stop_at: float | None = Field(default=None, description="stop once this share of evaluation episodes succeeds")
    stop_score: float | None = Field(default=None, description="stop once the evaluation's mean score is this high")
    log_episodes: int = Field(default=32, ge=0, description="training episodes of each update that are logged")
    policy: PolicyConfig = TinyPolicy()
    sharing: Sharing = Field(default="separate", description="which seats share a policy")
    algorithm: AlgorithmConfig = AlgorithmConfig()
    threads: int = Field(
        default=1, ge=0, description="torch threads; 1 is best for tiny models, 0 leaves torch's own choice"
    )
    device: str = "cpu"
    curriculum: CurriculumConfig | None = Field(default=None, description="a parameter that grows with success")
    league: LeagueConfig | None = Field(default=None, description="frozen versions of the policies as opponents")
    newcomers: NewcomersConfig | None = Field(default=None, description="policies that forget all, in turn")
    host: HostConfig | None = Field(default=None, description="actors in other processes")

    @model_validator(mode="before")
    @classmethod
    def _parts(cls, given: Any) -> Any:
        return small_parts(given) if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _whole_groups(self) -> RunConfig:
        if self.episodes % self.algorithm.group:
            raise ValueError(f"episodes = {self.episodes} is no multiple of algorithm.group = {self.algorithm.group}")
        if self.host and isinstance(self.policy, HfPolicy):
            raise ValueError("policies on pretrained models are trained at home: leave out host, or policy.hf")
        if self.league and self.algorithm.credit in BY_FORK:
            raise ValueError(
                f'futures know no frozen opponents: leave out league, or credit = "{self.algorithm.credit}"'
            )
        return self

    @model_validator(mode="after")
    def _memory_is_here(self) -> RunConfig:
        if self.scenario.memory and self.host:
            raise ValueError("seats in other processes see everything: leave out scenario.memory, or host")
        if self.scenario.memory and (self.algorithm.credit == "counterfactual" or self.algorithm.shaping.terms):
            raise ValueError(
                'credit = "counterfactual" and shaping read one context for a whole episode: leave out scenario.memory'
            )
        return self
