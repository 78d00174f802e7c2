"""Policies: who replies from a seat. None of them needs torch."""

from marl.policy.base import BatchedPolicy, PendingReply, Policy, Seats, TextPolicy
from marl.policy.human import Human
from marl.policy.recorded import OVER, Recorded
from marl.policy.scripted import Random, Script, Scripted, asked, remember

__all__ = [
    "OVER",
    "BatchedPolicy",
    "Human",
    "PendingReply",
    "Policy",
    "Random",
    "Recorded",
    "Script",
    "Scripted",
    "Seats",
    "TextPolicy",
    "asked",
    "remember",
]
