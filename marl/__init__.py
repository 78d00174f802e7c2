"""Agents, policies, rollouts, critics, credit and study; the `marl` command."""
