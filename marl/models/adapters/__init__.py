"""Adapters of peft: their kinds, their files, and which one is active."""
