"""Configuration: what is wrong with it is said in one sentence that names the key and a likely right one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marl.errors import UserError
from marl.scenario.config import Scenario
from marl.settings import check, described, dotted_names, override, read_toml, write_toml
from trainers.algorithm import AlgorithmConfig
from trainers.run_config import RunConfig

LEWIS: dict[str, Any] = {"scenario": {"arena": {"name": "lewis"}}}
EDGES = {"type": "edges", "edges": [["sender_0", "receiver_0"]]}
FULL: dict[str, Any] = {
    "scenario": {
        "arena": {"name": "matrix", "payoffs": [[[1, 1], [0, 0]], [[0, 0.5], [2, 2]]], "rounds": 3},
        "topology": {"type": "edges", "edges": [["player_0", "player_1"]]},
        "channel": [{"type": "noise", "p": 0.25}, {"type": "delay", "seconds": 1.5, "jitter": 0.1}],
        "floor": "rounds",
        "latency": {"constant": 0.5},
        "deadline": 2.5,
    },
    "out": "runs/with space",
    "stop_at": 0.75,
    "sharing": "shared",
    "algorithm": {"lr": 1e-5, "credit": "team"},
    "policy": {"width": 32},
}


@pytest.mark.parametrize("settings", [LEWIS, FULL])
def test_a_written_configuration_is_read_back_the_same(tmp_path: Path, settings: dict[str, Any]) -> None:
    config = RunConfig.model_validate(settings)
    write_toml(tmp_path / "config.toml", config)
    again = check(RunConfig, read_toml(tmp_path / "config.toml"), "it")
    assert again == config
    text = (tmp_path / "config.toml").read_text()
    assert "critic_lr = " in text  # defaults are written down too
    write_toml(tmp_path / "again.toml", again)
    assert (tmp_path / "again.toml").read_text() == text


def put(settings: dict[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    return override(settings, [f"{dotted}={value}"])


@pytest.mark.parametrize(
    ("dotted", "key", "meant"),
    [
        ("updaets", "updaets", "updates"),
        ("algorithm.lrr", "algorithm.lrr", "algorithm.lr"),
        ("algorithm.critic_widht", "algorithm.critic_widht", "algorithm.critic_width"),
        ("policy.with", "policy.with", "policy.width"),
        ("scenario.latency.jiter", "scenario.latency.jiter", "scenario.latency.jitter"),
        ("scenario.dead_line", "scenario.dead_line", "scenario.deadline"),
    ],
)
def test_a_wrong_key_is_named_with_the_one_that_was_meant(dotted: str, key: str, meant: str) -> None:
    with pytest.raises(UserError) as error:
        check(RunConfig, put(LEWIS, dotted, 1), "my.toml")
    assert str(error.value) == f"my.toml: there is no setting {key}; did you mean {meant}?"


@pytest.mark.parametrize(
    ("part", "meant"),
    [
        ({"channel": [{"type": "noise", "pp": 0.1}]}, "p"),
        ({"channel": [{"type": "loss", "p": 0.1}, {"type": "delay", "secons": 1}]}, "seconds"),
        ({"channel": [{"type": "price", "per_symbl": 0.1}]}, "per_symbol"),
        ({"topology": {"type": "edges", "edgs": []}}, "edges"),
        ({"topology": {"type": "ring", "typ": 1}}, "type"),
    ],
)
def test_a_wrong_key_of_one_kind_among_several_is_named_with_what_that_kind_has(part: Any, meant: str) -> None:
    with pytest.raises(UserError, match=r"there is no setting scenario.*; did you mean") as error:
        check(RunConfig, {"scenario": {"arena": {"name": "lewis"}, **part}}, "my.toml")
    assert str(error.value).endswith(f"did you mean {meant}?")


def test_where_nothing_is_alike_all_keys_are_listed() -> None:
    with pytest.raises(UserError, match=r"there is no setting policy\.zzz; known here: type, width, layers"):
        check(RunConfig, put(LEWIS, "policy.zzz", 1), "my.toml")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "my.toml: scenario: Field required"),
        ({"scenario": {}}, "scenario.arena: Field required"),
        (put(LEWIS, "updates", 0), "updates: .*greater than or equal to 1"),
        (put(LEWIS, "updates", "many"), "updates: .*valid integer"),
        (put(LEWIS, "algorithm.credit", "all"), "algorithm.credit: .*'sequential'"),
        (put(LEWIS, "scenario.floor", "shouting"), "scenario.floor: .*'simultaneous'"),
        (put(LEWIS, "scenario.topology.type", "torus"), "scenario.topology: .*'complete'"),
        (put(LEWIS, "scenario.deadline", "nan"), "scenario.deadline: "),
        (
            put(put(LEWIS, "algorithm.type", "magrpo"), "episodes", 9),
            "my.toml: the configuration: episodes \\(9\\) must be a multiple of algorithm.group",
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        check(RunConfig, settings, "my.toml")
    assert "\n" not in str(error.value)
    assert "pydantic" not in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["a=1"], {"a": 1}),
        (["a=0.5", "a=2"], {"a": 2}),
        (["a.b.c=true"], {"a": {"b": {"c": True}}}),
        (["a=word"], {"a": "word"}),
        (['a="1"'], {"a": "1"}),
        (["a=runs/my run"], {"a": "runs/my run"}),
        (["a=x=y"], {"a": "x=y"}),
        (["a=[1, 2]"], {"a": [1, 2]}),
        (['a=[{type="loss", p=0.5}]'], {"a": [{"type": "loss", "p": 0.5}]}),
        (["a=-1e-3"], {"a": -0.001}),
        (["a="], {"a": ""}),
    ],
)
def test_overrides_are_toml_values_or_bare_words(overrides: list[str], expected: dict[str, Any]) -> None:
    assert override({}, overrides) == expected


def test_an_override_changes_one_setting_and_leaves_the_given_ones_alone() -> None:
    before = {"algorithm": {"lr": 1.0, "gamma": 0.5}, "seed": 3}
    after = override(before, ["algorithm.lr=2"])
    assert after == {"algorithm": {"lr": 2, "gamma": 0.5}, "seed": 3}
    assert before == {"algorithm": {"lr": 1.0, "gamma": 0.5}, "seed": 3}


@pytest.mark.parametrize(
    ("settings", "text", "said"),
    [
        ({}, "updates", "looks like algorithm.lr=0.001, not 'updates'"),
        ({"seed": 1}, "seed.x=2", "seed is a value, not a table"),
    ],
)
def test_what_is_no_override_is_refused(settings: dict[str, Any], text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        override(settings, [text])


@given(st.integers(0, 9999), st.floats(1e-6, 1, exclude_max=True))
def test_overrides_reach_the_configuration(seed: int, lr: float) -> None:
    config = check(RunConfig, override(LEWIS, [f"seed={seed}", f"algorithm.lr={lr!r}", "scenario.arena.n=5"]), "it")
    assert isinstance(config.algorithm, AlgorithmConfig)
    assert (config.seed, config.algorithm.lr) == (seed, lr)
    assert config.scenario.arena.make().cases == 5


def test_files_that_are_no_toml_are_refused_with_their_name(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    for raw in (b"updates = = 3", b"[scenario", b"\xff\xfe\x00", b'a = "', b"a = 1\na = 2"):
        path.write_bytes(raw)
        with pytest.raises(UserError, match="is not TOML") as error:
            read_toml(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="No such file"):
        read_toml(tmp_path / "none.toml")
    with pytest.raises(UserError, match="directory"):
        read_toml(tmp_path)
    if os.geteuid() != 0:
        path.chmod(0)
        with pytest.raises(UserError, match="Permission denied"):
            read_toml(path)


def test_a_scenario_on_the_wire_is_the_scenario() -> None:
    scenario = Scenario.model_validate(FULL["scenario"])
    assert Scenario.model_validate(scenario.wire) == scenario
    assert json.loads(json.dumps(scenario.wire)) == scenario.wire
    assert scenario.wire["latency"] == {"constant": 0.5, "per_token": 0.0, "jitter": 0.0}  # as they are today


def test_every_setting_of_a_run_is_described_with_its_default() -> None:
    listed = {name: (default, text) for name, default, text in described(RunConfig)}
    assert listed["updates"][0] == "300"
    assert listed["policy.width"][0] == "64"
    assert listed["scenario.arena.name"][0] == "must be given"
    assert listed["algorithm.critic"][1].startswith("one of ")
    assert listed["host"][0] == "none"
    assert set(listed) <= set(dotted_names(RunConfig))
    assert set(RunConfig.model_fields) == {name.partition(".")[0] for name in listed}
