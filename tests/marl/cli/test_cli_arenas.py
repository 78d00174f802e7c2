"""The author's tools: new, check, arenas from files in every command, scripted seats, and the table of known scores."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import arenas
from protocols.log import load
from tests.marl.cli.test_cli_bad_input import sentence
from tests.marl.conftest import TINY, marl


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(arenas, "ARENAS", dict(arenas.ARENAS))
    return tmp_path


@pytest.fixture
def mine(folder: Path) -> Path:
    assert marl("new", "arena", "mine").code == 0
    return folder / "mine.py"


def test_a_new_arena_passes_its_test_and_the_check(mine: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", mine.parent], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout
    result = marl("check", "mine.py")
    assert (result.code, result.err) == (0, "")
    *passed, last = result.out.splitlines()
    assert len(passed) == 9
    assert all(line.startswith("ok  ") for line in passed)
    assert last == "mine.py is sound"


def test_a_new_arena_overwrites_nothing(mine: Path) -> None:
    mine.write_text("precious")
    assert "mine.py exists already and is not overwritten: choose another" in sentence("new", "arena", "mine")
    mine.rename("elsewhere.py")
    assert "test_mine.py exists already" in sentence("new", "arena", "mine")
    assert not mine.exists(), "both or neither"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("My-Game", "'My-Game' is not a valid arena name: use small letters, digits and single _, such as my_game"),
        ("class", "such as class_arena"),
        ("../up", "such as up"),
        ("", "'' is not a valid arena name: use small letters, digits and single _, such as arena"),
        ("lewis", "there is an arena lewis already: choose another name, such as my_lewis"),
        ("json", "Python has a module json already, which json.py would hide: choose another name"),
    ],
)
def test_a_bad_name(name: str, says: str, folder: Path) -> None:
    assert says in sentence("new", "arena", name)
    assert not list(folder.iterdir())


def test_only_arenas_are_begun() -> None:
    assert "marl new creates arenas, not 'trainer': marl new arena NAME" in sentence("new", "trainer", "mine")


def test_a_check_stops_at_what_is_wrong(mine: Path) -> None:
    mine.write_text(mine.read_text().replace("full=1.0", "full=0.1"))
    result = marl("check", "mine.py")
    assert result.code == 2
    assert [line[:4] for line in result.out.splitlines()] == ["ok  "]
    assert result.err == "error: mine: the anchor random = 0.333333 is above full = 0.1, so one is wrong\n"
    for command in ("play", "train", "arenas"):
        assert sentence(command, "mine.py") == result.err.strip()


def test_a_check_takes_parameters() -> None:
    assert marl("check", "lewis", "n=3", "arena.k=2").code == 0
    assert "lewis needs n >= 2" in sentence("check", "lewis", "n=1")
    assert "no arena 'lewiss': did you mean lewis?" in sentence("check", "lewiss")


def test_an_arena_in_a_file_is_played_and_shown(mine: Path) -> None:
    played = marl("play", "./mine.py", "--seed", "2")
    assert played.code == 0
    assert "guide_0" in played.out
    shown = marl("arenas", "mine.py")
    assert shown.code == 0
    assert "A guide sees which of three doors is open" in " ".join(shown.out.split())
    assert "there are no scripts" in shown.out


def test_a_run_of_an_arena_in_a_file_knows_it_from_everywhere(
    mine: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert marl("train", "mine.py", *TINY).code == 0
    monkeypatch.chdir("/")
    run = folder / "runs" / "mine"
    for command in ("eval", "play", "report"):
        arenas.ARENAS.pop(str(mine), None)  # as in another process
        assert marl(command, run).code == 0
    arenas.ARENAS.pop(str(mine), None)
    result = marl("replay", run, "--verify")
    assert result.code == 0
    assert "16 of 16 episodes identical" in result.out
    mine.unlink()
    assert f"{mine}: there is no such file" in sentence("eval", run)


def test_a_configuration_names_a_file_beside_it(mine: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = folder / "mine.toml"
    config.write_text('out = "{}"\n[scenario.arena]\nname = "mine.py"\n'.format(folder / "out"))
    monkeypatch.chdir("/")
    assert marl("play", config).code == 0
    assert marl("train", config, *TINY, "updates=1").code == 0
    assert str(mine) in (folder / "out" / "config.toml").read_text()


def test_a_log_runs_no_file_that_the_user_did_not_name(mine: Path, folder: Path) -> None:
    assert marl("play", "mine.py", "--log", "games.jsonl").code == 0
    elsewhere = mine.rename(folder / "moved.py")
    trap = folder / "ran"
    mine.write_text(f"open({str(trap)!r}, 'w')\n")
    arenas.ARENAS.pop(str(mine))
    assert "a file runs only when you name it yourself" in sentence("replay", "games.jsonl")
    assert not trap.exists()
    result = marl("replay", "games.jsonl", "--verify", "--arena", elsewhere)
    assert (result.code, result.out) == (0, "games.jsonl: 1 of 1 episodes identical\n")
    assert not trap.exists()


def test_scripts_take_seats() -> None:
    result = marl("play", "lewis", "--seat", "sender_0=scripted:full", "--seat", "receiver_0=scripted", "--episodes", 9)
    assert result.code == 0
    assert "receiver_0 = scripted:full" in result.out
    assert "mean score of 9 episodes: 1.000" in result.out
    assert "lewis has no script 'best'; it has silent, full" in sentence(
        "play", "lewis", "--seat", "sender_0=scripted:best"
    )


def test_a_script_that_garbled_words_confuse_says_so_and_what_was_played_is_shown() -> None:
    seats = ("--seat", "sender_0=scripted", "--seat", "receiver_0=scripted")
    result = marl("play", "lewis", *seats, "channel=[{type='loss', p=1}]")
    assert result.code == 2
    assert re.search("sender_0 +says +m", result.out)
    said = result.err.strip().splitlines()[-1]
    assert said.startswith("error: episode play-0 failed: receiver_0: scripted:full of receiver_0 does not know what")
    assert "Traceback" not in result.err


def test_scripts_draw_by_their_chances_and_the_same_in_every_replay(folder: Path) -> None:
    """In rock, paper, scissors the equilibrium plays each with 1/3."""
    game = ("matrix", "arena.game=rock_paper_scissors", "--seat", "player_0=scripted:equilibrium", "--episodes", "300")
    assert marl("play", *game, "--log", "games.jsonl").code == 0
    moves = [next(log.replies("player_0")).body for log in load(folder / "games.jsonl")]
    assert all(70 <= moves.count(move) <= 130 for move in set(moves)), "100 expected, standard deviation 8"
    assert len(set(moves)) == 3
    assert marl("replay", "games.jsonl", "--verify").code == 0


def test_every_arena_shows_an_episode_of_its_best_script() -> None:
    for name in arenas.names():
        result = marl("arenas", name)
        assert result.code == 0, result.err
        assert ("An episode of the script" in result.out) == bool(arenas.make(name).scripts())


def test_a_page_as_json() -> None:
    about = json.loads(marl("arenas", "lewis", "n=3", "--json").out)
    assert about["anchors"]["random"] == pytest.approx(1 / 3)
    assert about["ranges"] == {"n": [2, 30], "k": [1, 30]}
    assert about["splits"] == {"train": 3}
    assert about["best_script"] == "full"
    assert "averaged over the seats" in about["convention"]


def test_the_table_of_measured_scores() -> None:
    result = marl("arenas", "lewis", "--measure", "--episodes", "100")
    assert result.code == 0
    assert "`marl arenas lewis --measure --episodes 100 --seed 0`" in result.out
    row = result.out.splitlines()[-1]
    assert re.fullmatch(
        r"\| `lewis` \| 2 \| 2 \| 0.25 \| 0\.\d+ ± 0\.\d+ \| 0.25 \| .* \| 1 \| – \| full \| 1 ± 0 \|", row
    )
    table = json.loads(marl("arenas", "lewis", "--measure", "--episodes", "100", "--json").out)
    assert table["arenas"]["lewis"]["measured"]["full"] == {"mean": 1.0, "half_width_95": 0.0}
