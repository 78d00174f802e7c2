"""Evaluation: scores, traffic, tool calls, exploitability."""
