"""Algorithms of one's own: `module:Class` from a TOML file, and errors of one sentence."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from marl.cli.app import main
from marl.credit.methods import CREDIT_METHODS
from marl.errors import UserError
from marl.rundir.folder import RunDir
from trainers.algorithms import registry
from trainers.algorithms.registry import TRAINERS, load_trainer, trainer_class
from trainers.run_config import RunConfig

ROOT = Path(__file__).parents[3]


def snippet(language: str, marker: str) -> str:
    """A snippet of CONTRIBUTING's "Add an algorithm"."""
    page = (ROOT / "CONTRIBUTING.md").read_text().partition("## Add an algorithm")[2]
    (text,) = [
        text for text in re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL) if marker in text
    ]
    return str(text)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the module and the TOML file of CONTRIBUTING; the current folder is another one."""
    beside, elsewhere = tmp_path / "beside", tmp_path / "elsewhere"
    beside.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(registry, "TRAINERS", dict(TRAINERS))
    (beside / "my_module.py").write_text(snippet("python", "class Reinforce"))
    (beside / "reinforce.toml").write_text(snippet("toml", "my_module:Reinforce"))
    yield beside
    for name in ("my_module", "broken_module"):
        sys.modules.pop(name, None)


def marl(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(list(words))
    return int(left.value.code or 0)


def test_own_algorithm_trains_resumes_and_evaluates(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toml = str(folder / "reinforce.toml")
    small = ["policy.width=16", "policy.layers=1", "policy.heads=2", "episodes=8"]
    assert marl("train", toml, "--no-report", *small) == 0
    out = RunDir(Path("runs/reinforce"))
    assert out.newest().name == "000002"
    assert json.loads((out.newest() / "trainer.json").read_text()) == {"version": 2}
    assert "critic_dead" not in json.loads(out.summary.read_text())
    assert marl("train", toml, "--no-report", *small, "updates=4") == 0
    rows = out.read_metrics()
    assert [row["update"] for row in rows] == [1, 2, 3, 4]
    assert {"policy/sender_0/loss", "policy/receiver_0/grad"} <= rows[-1].keys()
    assert marl("eval", "runs/reinforce") == 0
    (Path.cwd() / "my_module.py").write_text((folder / "my_module.py").read_text())
    assert marl("train", "runs/reinforce", "--no-report", "updates=5") == 0
    assert out.newest().name == "000005"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["algorithm.lrr=0.1"],
            "reinforce.toml: algorithm: type my_module:Reinforce: there is no setting lrr; did you mean lr?",
        ),
        (["algorithm.type=no_module:Reinforce"], "algorithm.type: there is no module no_module in "),
        (["algorithm.type=my_module:Reinforced"], "has no class Reinforced; did you mean Reinforce?"),
        (["algorithm.type=my_module:np"], "my_module:np is not a subclass of trainers.trainer.Trainer"),
        (["algorithm.type=my_module:"], "must be module:Class, such as my_module:Reinforce"),
        (["algorithm.type=broken_module:A"], "module broken_module fails to import (ZeroDivisionError: "),
        (["algorithm.type=mapo"], "there is no algorithm 'mapo'; did you mean mappo?"),
    ],
)
def test_errors_are_one_sentence(
    folder: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "broken_module.py").write_text("1 / 0\n")
    assert marl("train", str(folder / "reinforce.toml"), *words) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_a_name_that_no_command_line_named_imports_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(folder))
    settings = {"scenario": {"arena": {"name": "lewis"}}, "algorithm": {"type": "my_module:Reinforce"}}
    with pytest.raises(ValidationError, match="is not loaded; name it in a configuration on the command line"):
        RunConfig.model_validate(settings)
    assert "my_module" not in sys.modules
    kind = load_trainer("my_module:Reinforce")
    assert trainer_class("my_module:Reinforce") is kind
    config = RunConfig.model_validate(settings)
    assert config.model_dump(mode="json")["algorithm"] == {"type": "my_module:Reinforce", "lr": 1e-3}


def test_a_class_without_update_is_rejected(folder: Path) -> None:
    (folder / "my_module.py").write_text("from trainers.trainer import Trainer\n\nclass Empty(Trainer):\n    pass\n")
    with pytest.raises(UserError, match="my_module:Empty lacks the method update: define it"):
        load_trainer("my_module:Empty", [folder])


def test_every_credit_method_says_what_it_is_right_for_and_its_equation() -> None:
    for name, method in CREDIT_METHODS.items():
        first, _, rest = (type(method).__doc__ or "").partition("\n")
        assert "; right " in first, name
        assert "A_" in rest, name
        assert not (method.needs_critic and method.needs_forks)
