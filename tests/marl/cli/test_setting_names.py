"""One spelling of a setting on every command, and suggestions for the names that are not known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from marl.cli.setting_names import arena_options, run_settings, scenario_settings
from marl.errors import UserError
from trainers.run_config import RunConfig

LEWIS: dict[str, Any] = {"arena": {"name": "lewis"}}


@pytest.mark.parametrize("key", ["n", "arena.n", "scenario.arena.n"])
def test_a_parameter_of_the_arena_has_one_spelling_everywhere(key: str) -> None:
    assert run_settings([f"{key}=8"], {"scenario": LEWIS}, RunConfig) == ["scenario.arena.n=8"]
    assert scenario_settings([f"{key}=8"], LEWIS) == ["arena.n=8"]
    assert arena_options([f"{key}=8"], "lewis") == {"n": 8}


@pytest.mark.parametrize("key", ["floor", "scenario.floor"])
def test_a_setting_of_the_scenario_has_one_spelling_everywhere(key: str) -> None:
    assert run_settings([f"{key}=free"], {"scenario": LEWIS}, RunConfig) == ["scenario.floor=free"]
    assert scenario_settings([f"{key}=free"], LEWIS) == ["floor=free"]


def test_a_setting_of_the_run_wins_over_a_parameter_of_the_same_name() -> None:
    scenario = {"arena": {"name": "gridworld"}}
    assert run_settings(["seed=3"], {"scenario": scenario}, RunConfig) == ["seed=3"]
    assert run_settings(["arena.seed=3"], {"scenario": scenario}, RunConfig) == ["scenario.arena.seed=3"]


def test_the_arena_may_be_named_on_the_same_line_or_be_a_file(tmp_path: Path) -> None:
    assert scenario_settings(["arena.name=relay", "states=3"], LEWIS)[1] == "arena.states=3"
    example = Path(__file__).parents[3] / "examples" / "03_your_own_arena.py"
    with pytest.raises(UserError, match="there is no setting zzz"):
        scenario_settings(["zzz=1"], {"arena": {"name": str(example)}})


def test_an_arena_around_another_passes_its_parameters_on() -> None:
    assert scenario_settings(["n=3", "graph=ring"], {"arena": {"name": "population"}}) == [
        "arena.n=3",
        "arena.graph=ring",
    ]


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("m=8", "there is no setting m; known here: scenario, seed"),
        ("lr=1e-3", "there is no setting lr; did you mean algorithm.lr?"),
        ("flor=free", "there is no setting flor; did you mean scenario.floor?"),
        ("updtes=3", "there is no setting updtes; did you mean updates?"),
        ("nn=3", "there is no setting nn; did you mean n?"),
    ],
)
def test_an_unknown_name_gets_a_suggestion(word: str, sentence: str) -> None:
    with pytest.raises(UserError) as error:
        run_settings([word], {"scenario": LEWIS}, RunConfig)
    assert str(error.value).startswith(sentence)


def test_commands_about_arenas_take_parameters_only() -> None:
    with pytest.raises(UserError, match="parameters of the arena only, such as n=8"):
        arena_options(["floor=free"], "lewis")
