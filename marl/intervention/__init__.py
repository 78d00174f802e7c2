"""Interventions do(message): what listeners hear is not what was said."""

from marl.intervention.base import Intervention, OnMessages, Said
from marl.intervention.config import InterventionConfig, read
from marl.intervention.inject import Inject
from marl.intervention.message import Close, Drop, Replace, Rewrite, Shuffle, Spoken, Swap

__all__ = [
    "Close",
    "Drop",
    "Inject",
    "Intervention",
    "InterventionConfig",
    "OnMessages",
    "Replace",
    "Rewrite",
    "Said",
    "Shuffle",
    "Spoken",
    "Swap",
    "read",
]
