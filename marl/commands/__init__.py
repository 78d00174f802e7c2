"""The `marl` command, one file per subcommand; `marl.cli` puts them together."""
