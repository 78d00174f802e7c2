"""Conformance tests for arenas: `check_arena`."""

from arenas.testing.suite import MAX_TURNS, check_arena, checks, corners, transcript

__all__ = ["MAX_TURNS", "check_arena", "checks", "corners", "transcript"]
