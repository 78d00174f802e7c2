"""`python -m marl` is `marl`."""

from marl.cli import main

main()
