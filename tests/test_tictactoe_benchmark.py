"""How benchmarks/tictactoe.py looks at a policy: play whose worth is known beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

import arenas
from arenas.games.puzzles.tictactoe import perfect
from arenas.scripted import Script, first
from benchmarks import tictactoe
from marl.models.language_model import LanguageModel
from marl.settings import check, override, read_toml
from trainers.run import Run
from trainers.run_config import RunConfig


@pytest.mark.parametrize("seat", ["player_0", "player_1"])
@pytest.mark.parametrize(("script", "lost"), [(perfect, 0.0), (first, 1.0)])
def test_perfect_play_loses_to_nobody_and_the_first_free_cell_to_all_who_are_optimal(
    monkeypatch: pytest.MonkeyPatch, seat: str, script: Script, lost: float
) -> None:
    monkeypatch.setattr(tictactoe, "greedy", lambda _, asked: [script(memory) for memory in asked])
    ends = tictactoe.ends(cast(LanguageModel, None), arenas.make("tictactoe"), seat)
    assert sum(chance for _, chance in ends) == pytest.approx(1)
    assert sum(chance for paid, chance in ends if paid < 0) == pytest.approx(lost)
    assert any(paid < 0 for paid, _ in ends) == (script is first)
    assert not any(paid > 0 and chance > 0 for paid, chance in ends)  # who is optimal never loses


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_long_self_play_soon_hardly_loses_to_an_optimal_opponent(tmp_path: Path) -> None:
    """With entropy paid for settled choices alone, 0.7 of the games are lost at this point."""
    settings = override(read_toml(tictactoe.EXAMPLE), ["updates=80", f"out={tmp_path}/run"])
    run = Run(check(RunConfig, settings, str(tictactoe.EXAMPLE)))
    run.train()
    assert tictactoe.look(run)["lost"] < 0.15
