from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from protocols.log import load
from tests.marl.conftest import marl


def test_an_arena_is_played_by_random_agents() -> None:
    result = marl("play", "lewis", "--seed", "3")
    assert (result.code, result.err) == (0, "")
    lines = [line.split() for line in result.out.splitlines()]
    assert lines[0][:2] == ["episode", "play-0"]
    assert [line[:2] for line in lines[2:6]] == [
        ["sender_0", "is"],
        ["sender_0", "says"],
        ["receiver_0", "is"],
        ["receiver_0", "moves"],
    ]
    assert marl("play", "lewis", "--seed", "3").out == result.out


def test_a_run_is_played_by_its_policies(run: Path) -> None:
    result = marl("play", run, "--episodes", "3", "--greedy")
    assert result.code == 0
    assert result.out.count("episode play-") == 3
    assert "mean score of 3 episodes" in result.out
    assert "random" not in result.out


def test_the_scenario_can_be_changed(run: Path) -> None:
    assert "state s7" in marl("play", "lewis", "arena.n=8", "--episodes", "40").out
    lost = marl("play", run, "channel=[{type='loss', p=1}]")
    assert "receiver_0    hears nothing" in lost.out
    late = marl("play", run, "channel=[{type='delay', seconds=2}, {type='price', per_symbol=0.5}]").out
    assert "(2 s later)" in late
    assert "(at a price of 0.5)" in late


def test_a_toml_file_can_be_played(tmp_path: Path, run: Path) -> None:
    config = tmp_path / "some.toml"
    config.write_text((run / "config.toml").read_text())
    assert marl("play", config).code == 0


def test_a_person_takes_a_seat_and_is_asked_again(run: Path) -> None:
    result = marl("play", run, "--seat", "sender_0=human", "--seed", "1", stdin="m9\nm2\n")
    assert result.code == 0
    assert "sender_0 says 1 of: m0 m1 m2 m3" in result.err
    assert "not a legal reply" in result.err
    assert "sender_0 = human" in result.out
    assert [line.split()[2] for line in result.out.splitlines() if " says " in line] == ["m2"]


def test_a_person_who_listens_hears_what_is_said() -> None:
    result = marl("play", "lewis", "--seat", "receiver_0=human", stdin="s1\n")
    said = next(line.split()[2] for line in result.out.splitlines() if " says " in line)
    assert f"sender_0 says: {said}\n  you are shown: which" in result.err


def test_people_on_all_seats_play_several_episodes() -> None:
    seats = ("--seat", "player_0=human", "--seat", "player_1=human")
    result = marl("play", "matrix", "--episodes", "2", *seats, stdin="a0\na0\na1\na2\n")
    assert result.code == 0
    assert "paid                    player_0 11, player_1 11" in result.out
    assert "mean score of 2 episodes: 8.500" in result.out


def test_an_input_that_ends_early_is_one_sentence() -> None:
    result = marl("play", "lewis", "--seat", "sender_0=human")
    assert result.code == 2
    assert result.err.splitlines()[-1].endswith("sender_0: input ended before the episode was over")


def test_ctrl_c_at_a_prompt_leaves_at_once() -> None:
    command = [sys.executable, "-m", "marl", "play", "lewis", "--seat", "sender_0=human"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        shown = b""
        while not shown.endswith(b"> "):
            shown += os.read(process.stderr.fileno(), 1000)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        assert process.stderr.read() == b""


def test_a_folder_called_like_an_arena_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lewis").mkdir()
    assert marl("play", "lewis").code == 0


@pytest.mark.parametrize("name", ["games.jsonl", "games.jsonl.gz"])
def test_a_log_is_kept_and_can_be_replayed(name: str, tmp_path: Path) -> None:
    log = tmp_path / name
    log.write_bytes(b"what was there before")
    result = marl("play", "reference", "--episodes", "3", "--log", log)
    assert result.code == 0
    assert len(list(load(log))) == 3
    assert marl("replay", log).out == result.out.partition("mean score")[0]
    verified = marl("replay", log, "--verify")
    assert (verified.code, verified.out) == (0, f"{log}: 3 of 3 episodes identical\n")


@pytest.mark.parametrize("file", ["/dev/full", "/nowhere/games.jsonl", "/"])
def test_a_log_that_cannot_be_written_is_one_sentence(file: str) -> None:
    result = marl("play", "lewis", "--log", file)
    assert result.code == 2
    assert result.err.startswith(f"error: {file}: ")
    assert result.err.count("\n") == 1


def test_policies_of_another_run_take_a_seat(make_run: Callable[..., Path], run: Path) -> None:
    other = make_run("lewis", "seed=2")
    result = marl("play", run, "--seat", f"receiver_0=trained:{other}", "--seat", "sender_0=trained")
    assert result.code == 0
    assert marl("play", "lewis", "--seat", f"receiver_0=trained:{other}").code == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["lewsi"], "no arena 'lewsi': did you mean lewis?"),
        (["runs/nowhere"], "there is neither a run's folder nor an arena 'runs/nowhere'"),
        (["lewis", "--seat", "sender_0"], "--seat looks like sender_0=human, not 'sender_0'"),
        (["lewis", "--seat", "bob=human"], "no seat 'bob'; the seats are sender_0, receiver_0"),
        (
            ["lewis", "--seat", "sender_0=clever"],
            "a policy is one of random, human, scripted:NAME, trained or",
        ),
        (["lewis", "--seat", "sender_0=trained"], "name the run, as in sender_0=trained:runs/mine"),
        (["lewis", "--seat", "sender_0=trained:nowhere"], "nowhere does not exist"),
        (["lewis", "arena.n=1"], "lewis needs n >= 2 states"),
        (["lewis", "foo=1"], "there is no setting foo; did you mean scenario.floor?"),
        (["lewis", "channel=[{type='nois'}]"], "channel"),
    ],
)
def test_a_bad_request_is_one_sentence(arguments: list[str], sentence: str) -> None:
    result = marl("play", *arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ")
    assert sentence in result.err
    assert result.err.count("\n") == 1


def test_policies_of_another_arena_are_one_sentence(make_run: Callable[..., Path], run: Path) -> None:
    other = make_run("matrix")
    result = marl("play", "lewis", "--seat", f"sender_0=trained:{other}")
    assert "that run has no seat 'sender_0' but player_0, player_1" in result.err
    result = marl("play", run, "arena.n=6", "--episodes", "20")
    assert result.code == 2
    assert "the policy was made for another arena" in result.err
    assert "Traceback" not in result.err


def test_a_run_is_verified_to_the_byte(run: Path) -> None:
    result = marl("replay", run, "--verify")
    assert result.code == 0
    assert "train.jsonl.gz: 16 of 16 episodes identical" in result.out
    assert "eval.jsonl.gz: 4 of 4 episodes identical" in result.out


def test_a_run_is_replayed_from_its_evaluation(run: Path) -> None:
    result = marl("replay", run)
    assert result.out.count("episode eval-train-") == 4
    assert marl("replay", run, "--episode", "eval-train-2").out.count("episode ") == 1
    assert "no episode 'eval-train-9'" in marl("replay", run, "--episode", "eval-train-9").err


def test_a_log_that_was_changed_is_found_out(tmp_path: Path, run: Path) -> None:
    text = gzip.decompress((run / "logs" / "eval.jsonl.gz").read_bytes()).decode()
    log = tmp_path / "changed.jsonl"
    for before, after, entry in (
        ('"body":"which"', '"body":"what"', "entry 3"),
        ('"body":"state s1"', '"body":"state s2"', "entry 0"),
        ('"body":"terminated"', '"body":"truncated"', "entry"),
    ):
        log.write_text(text.replace(before, after))
        result = marl("replay", log, "--verify")
        assert result.code == 1
        assert "of 4 episodes identical" in result.out
        assert f", {entry}" in result.out
        assert "logged:" in result.out
        assert "replayed:" in result.out


def test_logs_that_are_none_are_one_sentence(tmp_path: Path, run: Path) -> None:
    text = gzip.decompress((run / "logs" / "eval.jsonl.gz").read_bytes()).decode()
    log = tmp_path / "log.jsonl"
    for content, sentence in (
        (text.replace('{"sabir":1', '{"sabir":2'), "a log of schema 2, this program reads schema 1"),
        (text.replace('"name":"lewis"', '"name":"lewsi"'), "did you mean lewis?"),
        (text.replace('"name":"lewis"', '"name":"matrix"'), "its arena has player_0, player_1"),
        (text.replace('"case":0', '"case":77'), "lewis has deals 0 to 3, so not 77"),
        ("hello", "line 1: not a log entry"),
        ("", "holds no episode"),
    ):
        log.write_text(content)
        result = marl("replay", log, "--verify")
        assert result.code == 2, sentence
        assert sentence in result.err
        assert result.err.startswith("error: ")
        assert result.err.count("\n") == 1
    packed = tmp_path / "log.jsonl.gz"
    packed.write_bytes((run / "logs" / "eval.jsonl.gz").read_bytes()[:-20])
    assert "damaged or cut off" in marl("replay", packed).err


def test_a_fork_without_a_change_is_the_original(run: Path) -> None:
    for arguments in ([], ["--episode", "eval-train-2"], ["--at", "4"]):
        result = marl("fork", run, *arguments)
        assert result.code == 0
        assert "the fork is identical to the original byte for byte" in result.out
        assert "≠" not in result.out


def test_a_fork_shows_what_another_message_would_have_done(run: Path) -> None:
    said = next(line.split()[2] for line in marl("fork", run).out.splitlines() if " says " in line)
    other = next(word for word in ("m0", "m1") if word != said)
    result = marl("fork", run, "--say", other)
    assert result.code == 0
    (changed,) = [line for line in result.out.splitlines() if "receiver_0" in line and " hears " in line]
    assert changed.startswith("≠")
    assert changed.split()[-1] == other
    assert "score " in result.out
    dropped = marl("fork", run, "--drop").out
    assert "hears nothing" in dropped
    futures = marl("fork", run, "--resample", "5").out
    assert "mean of 5 futures" in futures
    assert futures == marl("fork", run, "--resample", "5").out
    assert marl("fork", run, "--resample", "3", "--say", other).code == 0


def test_a_fork_injects_and_closes(run: Path) -> None:
    injected = marl("fork", run, "--inject", "m3", "--as", "sender_0").out
    (said,) = [line for line in injected.splitlines() if "nobody" in line]
    (heard,) = [line for line in injected.splitlines() if "(as if" in line]
    assert all(line.startswith("≠") and "m3" in line for line in (said, heard))
    assert "hears nothing" in marl("fork", run, "--close", "public").out
    assert "hears nothing" not in marl("fork", run, "--close", "public", "--at", "4").out  # it was heard before
    assert marl("fork", run, "--as", "receiver_0", "--say", "m1", "--resample", "2").code == 0


def test_a_message_under_another_name(make_run: Callable[..., Path], tmp_path: Path) -> None:
    run = make_run("matrix", "scenario.arena.talk=1", "scenario.floor=rounds")
    shown = marl("fork", run, "--as", "player_0", "--at", "2").out
    assert "≠" not in shown  # it is player_0's own
    assert "as if" not in marl("fork", run, "--as", "player_1").out  # who bears the name is not fooled


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--say", "m9"], "sender_0 has no word 'm9'; it says 1 of: m0 m1 m2 m3"),
        (["--say", "m1", "--drop"], "--say and --drop exclude each other"),
        (["--at", "77"], "--at 77: the replies of eval-train-0 are entries 2, 4"),
        (["--inject", "m1"], "--inject needs --as SEAT"),
        (["--inject", "m1", "--as", "sender_0", "--drop"], "--inject goes with neither --say nor --drop"),
        (["--inject", "m7", "--as", "sender_0"], "inject: sender_0 does not say 'm7'; there are m0, m1, m2, m3"),
        (["--inject", "m1", "--as", "bob"], "inject: no seat 'bob'; the seats are sender_0, receiver_0"),
        (["--inject", "m1", "--as", "sender_0", "--at", "0"], "--at 0: the views and replies of eval-train-0 are"),
        (["--as", "bob"], "swap: no seat 'bob'; the seats are sender_0, receiver_0"),
        (["--close", "side"], "close: there is no channel 'side'; there are public"),
        (["--at", "4", "--drop"], "--at 4: the messages of eval-train-0 are entries 2"),
        (["--episode", "e"], "holds no episode 'e'"),
    ],
)
def test_a_fork_that_cannot_be_is_one_sentence(arguments: list[str], sentence: str, run: Path) -> None:
    result = marl("fork", run, *arguments)
    assert (result.code, result.out) == (2, "")
    assert sentence in result.err


def test_where_nothing_is_said_moves_can_be_forked_and_messages_not(make_run: Callable[..., Path]) -> None:
    run = make_run("matrix")
    assert "the fork is identical to the original byte for byte" in marl("fork", run).out
    assert "nothing is said in episode eval-train-0" in marl("fork", run, "--drop").err
