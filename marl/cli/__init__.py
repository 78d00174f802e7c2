"""The `marl` command."""
