"""Rollouts: play episodes, many at once, replay a log, and fork it."""

from marl.rollout.collect import RUN, YOUNG, collect, play, play_all, rare_collections
from marl.rollout.plan import Plan, header
from marl.rollout.replay import fork, replay

__all__ = ["RUN", "YOUNG", "Plan", "collect", "fork", "header", "play", "play_all", "rare_collections", "replay"]
