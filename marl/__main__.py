"""`python -m marl` is `marl`."""

from marl.cli.app import main

main()
