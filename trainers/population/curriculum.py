"""Curriculum: one parameter of the arena moves towards its target value as the agents succeed.

A level is a value of the parameter. When at least `up` of the episodes succeed in `patience` updates in a row, training
moves to the next level; when at most `down` do, to the previous one. (A success threshold as in Florensa et al. 2018
and ADR, OpenAI et al. 2019.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from marl.episode import Episode
from marl.errors import UserError
from marl.evaluation.evaluate import succeeded
from marl.scenario.world import World


class CurriculumConfig(BaseModel):
    """Curriculum settings: from `start` to the scenario's value, which evaluations always play."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parameter: str = Field(description="a whole-number parameter of the arena, one of its ranges")
    start: int
    step: int = Field(default=1, ge=1)
    up: float = Field(default=0.8, gt=0, le=1, description="share of successes at which it gets harder")
    down: float = Field(default=0.0, ge=0, lt=1, description="share of successes at which it gets easier again")
    patience: int = Field(default=3, ge=1, description="updates in a row that must agree")


class Curriculum:
    """Levels of a run, a world each, and the current one; raises UserError for levels that do not fit."""

    def __init__(self, config: CurriculumConfig, target: World) -> None:
        self.config = config
        name, arena = config.parameter, target.arena
        if name not in arena.ranges:
            ranges = ", ".join(arena.ranges) or "none"
            raise UserError(f"curriculum.parameter: {arena.name} has no range called {name!r}; its ranges: {ranges}")
        if target.anchors.full is None:
            raise UserError(f"curriculum: the optimum of {arena.name} is not known, so nothing tells success")
        low, high = arena.ranges[name]
        if not low <= config.start <= high:
            raise UserError(f"curriculum.start: {name} of {arena.name} goes from {low} to {high}, not {config.start}")
        goal = int((target.scenario.arena.model_extra or {}).get(name, signature(type(arena)).parameters[name].default))
        step = config.step if goal >= config.start else -config.step
        self.levels: list[int] = [*range(config.start, goal, step), goal]
        self.worlds = [self._world(target, level) for level in self.levels[:-1]] + [target]
        self._at = 0
        self._streak = 0  # updates in a row that call for a harder (> 0) or an easier level (< 0)

    def _world(self, target: World, level: int) -> World:
        """Build the world of a level; its agents must be the target's."""
        settings = target.scenario.arena.model_dump() | {self.config.parameter: level}
        arena = type(target.scenario.arena).model_validate(settings)
        world = World(target.scenario.model_copy(update={"arena": arena}))
        if world.agents != target.agents:
            raise UserError(
                f"curriculum: at {self.config.parameter}={level} there are other agents than in the scenario"
            )
        return world

    @property
    def words(self) -> tuple[str, ...]:
        """Every word of every level, the scenario's own first."""
        return tuple(dict.fromkeys(word for world in reversed(self.worlds) for word in world.vocabulary))

    @property
    def world(self) -> World:
        """World of the current level."""
        return self.worlds[self._at]

    @property
    def level(self) -> int:
        """Current value of the parameter."""
        return self.levels[self._at]

    def observe(self, episodes: Sequence[Episode]) -> None:
        """Count an update's successes; change the level once `patience` updates in a row agree."""
        share = succeeded(self.world, episodes)
        assert share is not None
        direction = int(share >= self.config.up) - int(share <= self.config.down)
        self._streak = self._streak + direction if direction * self._streak >= 0 and direction else direction
        if abs(self._streak) >= self.config.patience:
            self._at = min(max(self._at + direction, 0), len(self.levels) - 1)
            self._streak = 0

    def state(self) -> dict[str, int]:
        """Return the state for a checkpoint."""
        return {"at": self._at, "streak": self._streak}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        self._at, self._streak = int(state.get("at", 0)), int(state.get("streak", 0))
        if not 0 <= self._at < len(self.levels):
            raise ValueError(f"curriculum level {self._at} of {len(self.levels)}")
