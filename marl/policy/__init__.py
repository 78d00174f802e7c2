"""Policies that need no torch: random, scripted, recorded, human, endpoints."""

from marl.policy.base import BatchedPolicy, PendingReply, Policy, Seats, TextPolicy
from marl.policy.human import Human
from marl.policy.recorded import NoPolicy, Recorded
from marl.policy.scripted import ArenaScriptPolicy, Random, Scripted, newest_view, remember

__all__ = [
    "ArenaScriptPolicy",
    "BatchedPolicy",
    "Human",
    "NoPolicy",
    "PendingReply",
    "Policy",
    "Random",
    "Recorded",
    "Scripted",
    "Seats",
    "TextPolicy",
    "newest_view",
    "remember",
]
