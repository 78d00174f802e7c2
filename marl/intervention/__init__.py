"""Interventions do(message): change what listeners hear."""

from marl.intervention.base import Intervention, MessageEvent, MessageSpace, OnMessages
from marl.intervention.config import InterventionConfig, parse
from marl.intervention.inject import Inject
from marl.intervention.message import Close, Drop, Replace, Rewrite, Shuffle, Spoken, Swap

__all__ = [
    "Close",
    "Drop",
    "Inject",
    "Intervention",
    "InterventionConfig",
    "MessageEvent",
    "MessageSpace",
    "OnMessages",
    "Replace",
    "Rewrite",
    "Shuffle",
    "Spoken",
    "Swap",
    "parse",
]
