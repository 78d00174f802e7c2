"""Subcommands about arenas: list and measure them, begin a new one, check it."""
