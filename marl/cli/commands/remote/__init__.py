"""Subcommands for seats in other processes: host, agent, join, broker."""
