"""The rules of shipped arenas are prompts: their texts do not change by accident."""

from __future__ import annotations

from pathlib import Path

import pytest

import arenas
from arenas import Arena
from tests.arenas.testing.test_arena_check import Coin

GOLDEN = Path(__file__).parents[1] / "golden" / "rules"


@pytest.mark.parametrize("name", arenas.names())
def test_rules_of_shipped_arenas_do_not_change(name: str) -> None:
    arena = arenas.make(name)
    assert arena.rules.encode() == (GOLDEN / f"{name}.txt").read_bytes(), (
        "this text is a prompt: note it in CHANGELOG.md"
    )
    assert "rules" in vars(type(arena)), "rules must not follow from docstrings"


def test_rules_default_to_the_docstrings_of_module_and_class() -> None:
    class Described(Coin):
        """A coin.

        It may land on its edge.
        """

    assert Described.rules == f"{__doc__}\n\nA coin.\n\nIt may land on its edge."


def test_explicit_rules_lose_their_indentation() -> None:
    class Explicit(Coin):
        """For developers."""

        rules = """
        Heads wins.

          Tails loses.
        """

    assert Explicit.rules == "Heads wins.\n\n  Tails loses."


def test_a_subclass_without_a_docstring_inherits_the_rules() -> None:
    plain: type[Arena] = type("Plain", (Coin,), {})
    assert plain.rules == Coin.rules
