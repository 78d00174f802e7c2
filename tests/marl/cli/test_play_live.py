"""`marl play` with models that take their time: what is in the log is on the terminal."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.marl import chats
from tests.marl.conftest import marl
from tests.marl.policy.test_endpoint import Server, says

pytest.importorskip("httpx2")
EFFECTS = "channel=[{type='loss', p=0.5}, {type='delay', seconds=2}]"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as stand_in:
        yield stand_in
        stand_in.shutdown()


def test_every_line_is_printed_while_the_next_policy_thinks(server: Server) -> None:
    server.gate = threading.Semaphore(0)
    server.answers = [says("m1"), says("s1")]
    seats = [f"--seat={seat}={server.address()}" for seat in ("sender_0", "receiver_0")]
    command = [sys.executable, "-m", "marl", "play", "lewis", *seats]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = process.stdout

        def shown(count: int) -> list[list[str]]:
            return [next(lines).split()[:2] for _ in range(count)]

        assert shown(3) == [["episode", "play-0"], ["hidden", "state"], ["sender_0", "is"]]
        server.gate.release()  # only now can the sender say anything
        assert shown(2) == [["sender_0", "says"], ["receiver_0", "is"]]
        server.gate.release()
        assert shown(1) == [["receiver_0", "moves"]]
        assert process.wait(timeout=60) == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("peft")
    return chats.folder(tmp_path_factory.mktemp("model"))


def test_what_is_printed_while_playing_is_what_a_replay_prints(folder: Path, tmp_path: Path) -> None:
    """Also of episodes that are played side by side, of which the later ones may end first."""
    log = tmp_path / "log.jsonl"
    seats = [f"--seat={seat}=hf:{folder}" for seat in ("negotiator_0", "negotiator_1")]
    result = marl("play", "negotiation", "--episodes", 4, *seats, "--log", log)
    assert result.code == 0, result.err
    assert marl("replay", log).out == result.out.partition("mean score")[0]


def test_columns_grow_where_a_message_is_lost(folder: Path) -> None:
    result = marl("play", "reference", EFFECTS, "--episodes", 6, f"--seat=speaker_0=hf:{folder}")
    assert result.code == 0, result.err
    assert "hears nothing" in result.out
    assert "(2 s later)" in result.out


def test_the_first_episode_that_fails_is_the_last_one_shown(server: Server, tmp_path: Path) -> None:
    server.answers = [(401, {}, b"{}")]
    log = tmp_path / "log.jsonl"
    result = marl("play", "lewis", "--episodes", 3, f"--seat=sender_0={server.address()}", "--log", log)
    assert result.code == 2
    assert "episode play-0 failed: sender_0: the endpoint" in result.err
    assert result.out.count("episode play-") == log.read_text().count('"episode":"play-0"') == 1
