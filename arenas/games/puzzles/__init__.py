"""Puzzles and deduction games."""
