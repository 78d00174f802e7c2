"""Policies: who replies from a seat. None of them needs torch."""

from marl.policy.base import BatchedPolicy, PendingReply, Policy, Seats, TextPolicy
from marl.policy.human import Human
from marl.policy.recorded import NoPolicy, Recorded
from marl.policy.scripted import ArenaScriptPolicy, Random, Scripted, asked, remember

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
    "asked",
    "remember",
]
