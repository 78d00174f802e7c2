"""Sweeps: configurations x seeds, each an ordinary run in a process of its own, and what they say together."""
