"""Paths in a configuration begin at its folder, and `~` is the home folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from marl.cli.commands.sweep import _split_words
from marl.cli.source import source_settings
from marl.scenario.paths import beside
from protocols.mqtt import address
from protocols.topology import read_graphml
from trainers.run_config import RunConfig

GRAPH = """<graphml xmlns="http://graphml.graphdrawing.org/xmlns"><key id="l" for="node" attr.name="label"
attr.type="string"/><graph edgedefault="directed"><node id="a"><data key="l">
   agent_0
 </data></node><node id="b"><data key="l">  </data></node><edge source="a" target="b"/></graph></graphml>"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration and what it names; the working directory is another, home the one above."""
    here = tmp_path / "configs"
    (here / "documents").mkdir(parents=True)
    (here / "model").mkdir()
    (here / "net.graphml").write_text(GRAPH)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return here


def test_files_beside_a_configuration_are_found_from_anywhere(folder: Path) -> None:
    (folder / "c.toml").write_text(
        """out = "runs/x"
        [policy]
        hf = "model"
        [scenario.arena]
        name = "naming"
        [scenario.tools.notes]
        type = "search"
        folder = "documents"
        [scenario.topology]
        type = "changing"
        graphs = [{type = "graphml", path = "net.graphml"}, {type = "ring"}]
        """
    )
    settings = source_settings(str(folder / "c.toml"))
    assert settings["policy"]["hf"] == str(folder / "model")
    assert settings["scenario"]["tools"]["notes"]["folder"] == str(folder / "documents")
    assert settings["scenario"]["topology"]["graphs"][0]["path"] == str(folder / "net.graphml")
    assert settings["out"] == "runs/x"  # runs begin in the working directory


@pytest.mark.parametrize("name", ["Qwen/Qwen3-0.6B", "missing.graphml", "a" * 5000, "/etc/hosts"])
def test_what_is_not_beside_a_configuration_stays_as_it_is(folder: Path, name: str) -> None:
    assert beside(name, folder) == name


def test_a_path_in_the_folder_of_the_configuration_keeps_its_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert beside("net.graphml", Path()) == "net.graphml"


def test_the_home_folder_is_known_everywhere(folder: Path) -> None:
    arena: dict[str, Any] = {"scenario": {"arena": {"name": "lewis"}}}
    assert RunConfig.model_validate({**arena, "out": "~/x"}).out == folder.parent / "x"
    assert _split_words(["lewis", "out=~/x"])[2] == folder.parent / "x"
    assert beside("~/configs/net.graphml", folder) == str(folder / "net.graphml")
    assert read_graphml("~/configs/net.graphml")[0] == ("agent_0", "b")
    with pytest.raises(Exception, match="no certificate authority"):
        address.trust(address.parse("mqtts://host?cafile=~/configs/net.graphml"))


def test_a_setting_that_is_too_long_for_a_path_is_a_setting() -> None:
    word = f"scenario.channel=[{','.join(['{type=delay}'] * 100)}]"
    assert _split_words(["lewis", word])[1] == [word]
