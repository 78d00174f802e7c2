from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

import arenas
from marl.cli.app import main
from marl.cli.errors import EXTRAS
from tests.marl.conftest import marl

COMMANDS = ("arenas", "train", "eval", "play", "replay", "fork", "report", "sweep")


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_importing_the_command_loads_no_torch() -> None:
    assert python("import sys, marl.cli.app; assert not {'torch', 'transformers'} & set(sys.modules)").returncode == 0


def test_playing_random_agents_loads_no_torch() -> None:
    code = "import sys, marl.cli as cli\ntry: cli.main(['play', 'lewis'])\nfinally: assert 'torch' not in sys.modules"
    assert python(code).returncode == 0


@pytest.mark.parametrize(("package", "extra"), [("torch", "lm"), ("tensorboard", "lm")])
def test_a_missing_package_is_one_sentence_with_the_extra(package: str, extra: str, tmp_path: Path) -> None:
    arguments = ["train", "lewis", f"out={tmp_path / 'run'}"]
    result = python(f"import sys; sys.modules[{package!r}] = None; from marl.cli import main; main({arguments!r})")
    assert result.returncode == 2
    assert result.stderr == f"error: this needs the package {package}: pip install 'sabir[{extra}]'\n"


def test_the_package_can_be_run() -> None:
    result = subprocess.run([sys.executable, "-m", "marl"], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0
    assert "marl train lewis" in result.stdout


def test_a_reader_that_stops_listening_is_no_error() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "marl", "play", "lewis", "--episodes", "500"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_page_teaches(command: str) -> None:
    result = marl(command, "--help")
    assert result.code == 0
    assert "Examples" in result.out
    assert f"marl {command}" in result.out.partition("Examples")[2]


def test_without_a_command_it_says_what_there_is() -> None:
    result = marl()
    assert result.code == 0
    assert all(command in result.out for command in COMMANDS)


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["eval"], ["eval", "--nonsense"], ["play", "lewis", "--episodes", "0"]]
)
def test_wrong_usage_is_one_sentence(arguments: list[str]) -> None:
    result = marl(*arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1


def test_debug_shows_where_an_error_comes_from() -> None:
    with pytest.raises(arenas.ArenaError):
        main(["--debug", "arenas", "nonsense"])


def test_arenas_lists_them_all() -> None:
    listed = marl("arenas").out
    described = json.loads(marl("arenas", "--json").out)
    assert all(name in listed for name in arenas.names())
    assert list(described) == arenas.names()
    assert described["lewis"]["anchors"] == {"random": 0.25, "silent": 0.25, "equilibrium": None, "full": 1.0}


@pytest.mark.parametrize("name", ["lewis", "matrix", "reconstruction", "reference"])
def test_an_arena_is_shown_in_full(name: str) -> None:
    shown = marl("arenas", name).out
    described = json.loads(marl("arenas", name, "--json").out)
    assert described["name"] == name
    for seat, (reply,) in described["seats"].items():
        assert f"{seat} {reply}" in shown
    for parameter, default in described["parameters"].items():
        assert f"{parameter} = {default}" in shown
    for part in ("Seats", "Parameters", "Known scores", "An episode of the script full", "score"):
        assert part in shown


def test_an_unknown_arena_is_one_sentence() -> None:
    assert marl("arenas", "lewsi") == (2, "", "error: no arena 'lewsi': did you mean lewis?\n")


def test_eval_repeats_the_evaluation_of_training(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    result = json.loads(marl("eval", run, "--json").out)
    assert result["update"] == 4
    assert {key: result[key] for key in summary["evaluation"]} == summary["evaluation"]
    shown = marl("eval", run)
    assert f"{summary['evaluation']['train']['score']:.3f}" in shown.out
    assert "4 greedy episodes" in shown.err


def test_eval_shows_what_is_left_when_messages_are_lost_or_tell_nothing(make_run: Callable[..., Path]) -> None:
    run = make_run("reconstruction", "scenario.arena.values=3", "updates=2")
    whole = json.loads(marl("eval", run, "--json").out)["train"]
    for option in (["--close", "public"], ["--drop", "1"], ["--drop", "0.5"], ["--shuffle"]):
        figures = json.loads(marl("eval", run, "--json", *option).out)["train"]
        assert figures["episodes"] == (1026 if option == ["--shuffle"] else whole["episodes"])
    closed, dropped = (
        json.loads(marl("eval", run, "--json", *o).out) for o in (["--close", "public"], ["--drop", "1"])
    )
    assert closed == dropped
    assert json.loads(marl("eval", run, "--json", "--drop", "0").out)["train"] == whole
    for option, said in ((["--close", "public"], "public closed"), (["--drop", "0.5"], "dropped with p = 0.5")):
        assert f"this run, {said} " in marl("eval", run, *option).out
    assert "this run, shuffled " in marl("eval", run, "--shuffle").out
    assert marl("eval", run, "--close", "side") == (
        2,
        "",
        "error: close: there is no channel 'side'; there are public\n",
    )


def test_eval_of_shared_policies_and_held_out_deals(make_run: Callable[..., Path]) -> None:
    run = make_run("reconstruction", "sharing=shared", "scenario.arena.values=3", "scenario.arena.held_out=0.3")
    assert "this run, held out deals" in marl("eval", run).out
    figures = json.loads(marl("eval", run, "--json").out)
    assert (figures["train"]["episodes"], figures["held_out"]["episodes"]) == (6, 3)


def copied(run: Path, folder: Path) -> Path:
    shutil.copytree(run, folder)
    return folder


def damage(folder: Path, what: str) -> None:
    *older, checkpoint = sorted((folder / "checkpoints").iterdir())
    for other in older:  # which would be taken instead
        shutil.rmtree(other)
    policy = checkpoint / "policies" / "sender_0"
    match what:
        case "weights cut off":
            weights = policy / "model.safetensors"
            weights.write_bytes(weights.read_bytes()[:5000])
        case "weights of zeros":
            (policy / "model.safetensors").write_bytes(bytes(10000))
        case "weights missing":
            (policy / "model.safetensors").unlink()
        case "tokenizer":
            (policy / "tokenizer.json").write_text("{")
        case "policy missing":
            shutil.rmtree(policy)
        case "state":
            (checkpoint / "state.json").write_text("{}")
        case "no checkpoint":
            shutil.rmtree(folder / "checkpoints")
        case "config":
            (folder / "config.toml").write_text("seed = 1")
        case "config.toml of something else":
            (folder / "config.toml").write_text("[scenario]\nfoo = 1")


@pytest.mark.parametrize(
    "what",
    [
        *("weights cut off", "weights of zeros", "weights missing", "tokenizer", "policy missing", "state"),
        *("no checkpoint", "config", "config.toml of something else"),
    ],
)
def test_a_damaged_run_is_one_sentence(what: str, tmp_path: Path, run: Path) -> None:
    folder = copied(run, tmp_path / "run")
    damage(folder, what)
    result = marl("eval", folder)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ")
    assert str(folder) in result.err
    assert result.err.count("\n") == 1


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(tmp_path: Path, run: Path) -> None:
    folder = copied(run, tmp_path / "run")
    before, newest = sorted((folder / "checkpoints").iterdir())[-2:]
    weights = newest / "policies" / "sender_0" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    result = marl("eval", folder)
    assert result.code == 0
    assert newest.name in result.err
    assert f"after {int(before.name)} updates" in result.err


@pytest.mark.parametrize("command", ["eval", "replay", "fork", "report"])
def test_a_folder_without_a_run_is_one_sentence(command: str, tmp_path: Path) -> None:
    assert "has no config.toml" in marl(command, tmp_path).err
    result = marl(command, tmp_path / "nowhere")
    assert result.code == 2
    assert re.fullmatch(r"error: \S+nowhere does not exist[^\n]*\n", result.err)


def test_the_extras_it_names_exist() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    for package, extra in EXTRAS.items():
        assert any(line.startswith(package) for line in project["optional-dependencies"][extra])
