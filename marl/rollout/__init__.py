"""Rollouts: play episodes, many at once, replay a log, and fork it."""

from marl.rollout.collect import RUN, collect, play, play_all
from marl.rollout.gc_threshold import raised_gc_threshold
from marl.rollout.plan import Plan, header
from marl.rollout.replay import fork, replay

__all__ = ["RUN", "Plan", "collect", "fork", "header", "play", "play_all", "raised_gc_threshold", "replay"]
