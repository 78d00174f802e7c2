"""Sweeps: configurations x seeds, each run in its own process, and their combined results."""
