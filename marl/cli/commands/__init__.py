"""Subcommands of `marl`, one file each."""
