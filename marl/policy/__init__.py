"""Policies: who replies from a seat. None of them needs torch."""

from marl.policy.base import Asked, Batched, Policy, Seats, TextPolicy
from marl.policy.human import Human
from marl.policy.recorded import NoPolicy, Recorded
from marl.policy.scripted import ArenaScriptPolicy, Random, Scripted, asked, remember

__all__ = [
    "ArenaScriptPolicy",
    "Asked",
    "Batched",
    "Human",
    "NoPolicy",
    "Policy",
    "Random",
    "Recorded",
    "Scripted",
    "Seats",
    "TextPolicy",
    "asked",
    "remember",
]
