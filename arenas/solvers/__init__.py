"""Solvers: exact values, equilibria and scripted play of arenas."""
