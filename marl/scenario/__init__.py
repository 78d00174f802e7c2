"""Scenarios: an arena and the protocol under which its agents talk."""

from marl.scenario.config import ArenaConfig, Latency, Scenario
from marl.scenario.world import World

__all__ = ["ArenaConfig", "Latency", "Scenario", "World"]
