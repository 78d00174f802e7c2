from __future__ import annotations

import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

import arenas
from marl.scenario.world import World
from trainers.run_config import RunConfig

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
CONFIGURATIONS = sorted(EXAMPLES.glob("*.toml"))


def load(name: str) -> Any:
    """Import an example; its name begins with a digit, so not by an import statement."""
    spec = spec_from_file_location(f"example_{name[:2]}", EXAMPLES / name)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_scripted_agents_of_01_understand_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    load("01_play.py").main()
    out = capsys.readouterr().out
    assert "byte for byte the same: True" in out
    assert "score 1 -> 0" in out


def test_02_trains_and_04_reads_what_it_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    load("02_train_lewis.py").main(run, updates=2)
    out = capsys.readouterr().out
    assert "update   2:" in out
    assert out.count("state s") == 4
    load("04_read_a_run.py").main(run)
    out = capsys.readouterr().out
    assert "4 of 4 episodes are the same to the byte" in out
    assert "another message of sender_0 changes what receiver_0 does" in out


def test_the_arena_of_03_is_sound_and_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arenas, "ARENAS", dict(arenas.ARENAS))
    load("03_your_own_arena.py").main(tmp_path / "run", updates=1)
    assert "communication gain" in capsys.readouterr().out


def test_the_anchors_of_03_are_what_its_rules_give() -> None:
    example = load("03_your_own_arena.py")
    arena = example.Adder()
    scores: dict[str, list[float]] = {f"s{i}": [] for i in range(5)}
    for case in range(arena.cases):
        for guess, paid in scores.items():
            arena.begin(0, case=case)
            arena.resolve(dict.fromkeys(example.SPEAKERS, ("m0",)))
            paid.append(arena.resolve({example.LISTENER: (guess,)}).rewards[example.LISTENER])
    means = [sum(paid) / arena.cases for paid in scores.values()]
    assert arena.anchors().random == pytest.approx(sum(means) / 5)
    assert arena.anchors().silent == pytest.approx(max(means))


def test_the_main_job_is_a_configuration_whose_agents_can_succeed() -> None:
    config = RunConfig.model_validate(tomllib.loads((EXAMPLES / "quickstart.toml").read_text()))
    assert config.out == Path("runs/quickstart")
    anchors = config.scenario.arena.make().anchors()
    assert anchors.full == 1.0
    assert anchors.silent is not None
    assert anchors.silent < 0.2


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.name)
def test_configurations_are_of_worlds_in_which_something_can_be_learned(path: Path) -> None:
    config = RunConfig.model_validate(tomllib.loads(path.read_text()))
    assert config.out == Path("runs") / path.stem
    world = World(config.scenario)
    if "competitive" in world.arena.tags:
        assert config.league is not None
        assert world.anchors.equilibrium is not None
        return
    anchors = world.anchors
    assert anchors.random is not None
    assert anchors.full is not None
    assert anchors.random < anchors.full


def test_what_the_comments_of_the_configurations_say() -> None:
    relay, walk = (
        RunConfig.model_validate(tomllib.loads((EXAMPLES / f"{name}.toml").read_text())).scenario
        for name in ("relay", "speaker_listener")
    )
    losses = [effect.model_dump() for edge in ("edge_0", "edge_1") for effect in relay.channels[edge].effects]
    assert losses == [{"type": "loss", "p": 0.1}] * 2
    anchors = walk.arena.make().anchors()
    assert [f"{score:.2f}" for score in (anchors.silent, anchors.full)] == ["-4.56", "-1.67"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_examples_are_short_and_say_how_they_are_run(script: Path) -> None:
    text = script.read_text()
    assert len(text.splitlines()) <= 80
    assert f"python examples/{script.name}" in text.partition("from __future__")[0]
