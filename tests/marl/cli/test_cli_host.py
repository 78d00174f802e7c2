"""`marl host`, `marl agent`, `marl join`, `marl broker`: as commands of their own, and what they say to wrong ones."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from marl.policy.scripted import Random
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from protocols import log
from protocols.mqtt.access import acl
from protocols.mqtt.broker import free_port
from tests.brokers import broker
from tests.marl.conftest import marl
from tests.marl.worlds import raw, world

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "PYTHONUNBUFFERED": "1"}


@contextmanager
def started(*arguments: object, stdin: str = "") -> Iterator[subprocess.Popen[str]]:
    """Run the command in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "marl", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ENVIRONMENT,
    )
    try:
        if stdin:
            assert process.stdin is not None
            process.stdin.write(stdin)
            process.stdin.flush()
        yield process
    finally:
        process.kill()
        process.communicate()


def test_host_agent_and_person_in_processes_of_their_own(tmp_path: Path) -> None:
    url, out = broker("mosquitto").url, tmp_path / "hosted"
    host = ["host", url, "lewis", "--run", "cli", "--episodes", 2, "--out", out, "--wait", 60]
    join = ["join", url, "--run", "cli", "--seat", "sender_0", "--token"]
    agent = ["agent", url, "--run", "cli", "--seat", "receiver_0", "--token"]
    with started(*host) as hosting:
        assert hosting.stdout is not None
        printed = [hosting.stdout.readline() for _ in range(2)]
        tokens = dict(re.findall(r"--token (\S+) --run cli --seat (\S+)", "".join(printed)))
        mine = {seat: token for token, seat in tokens.items()}
        assert json.loads((out / "tokens.json").read_text()) == mine
        with (
            started(*agent, mine["receiver_0"]) as playing,
            started(*join, mine["sender_0"], stdin="m9\nm1\nm3\n") as person,
        ):
            output, typed, replied = (process.communicate(timeout=60)[0] for process in (hosting, person, playing))
    assert (hosting.returncode, person.returncode, playing.returncode) == (0, 0, 0), output + typed + replied
    assert "sender_0 = human, receiver_0 = random" in output
    assert "rejected envelopes: " in output
    assert "missed deadlines: 0" in output
    assert "not a legal reply" in typed
    assert "the episode is over: terminated" in typed
    assert "the run cli is over: 2 episodes" in replied
    logs = list(log.load(out / "episodes.jsonl"))
    assert [[e.body for e in logged.replies("sender_0")] for logged in logs] == [["m1"], ["m3"]]
    again = marl("replay", out / "episodes.jsonl", "--verify")
    assert "2 of 2 episodes identical" in again.out
    assert f"{out} holds all 2 episodes" in marl(*host).err


def test_memory_is_for_a_trial() -> None:
    result = marl("host", "memory://", "lewis", "--seed", 3, "--run", "x")
    assert result.code == 0
    assert "episode x-0" in result.out
    assert "use marl play" in marl("agent", "memory://", "--seat", "sender_0").err


def test_an_agent_with_two_seats_and_a_host_that_is_killed(tmp_path: Path) -> None:
    """The host is killed in the middle; the agent waits; the host goes on and the episodes come out as in memory."""
    here = world("matrix", arena={"rounds": 6})
    url, out = broker("mosquitto").url, tmp_path / "hosted"
    host = ["host", url, "matrix", "arena.rounds=6", "--run", "killed", "--episodes", 40, "--out", out, "--open"]
    agent = ["agent", url, "--run", "killed", *(word for seat in here.agents for word in ("--seat", seat))]
    with started(*agent) as playing:
        with started(*host) as hosting:
            assert hosting.stdout is not None
            while "episode killed-3" not in hosting.stdout.readline():
                pass
            hosting.kill()
        with started(*host) as hosting:
            output = hosting.communicate(timeout=60)[0]
        replied = playing.communicate(timeout=60)[0]
    assert (hosting.returncode, playing.returncode) == (0, 0), output + replied
    assert "episodes are finished already" in output
    assert "the host left; waiting for it to come back" in replied
    plans = [Plan(f"killed-{i}", {seat: Random() for seat in here.agents}, 0) for i in range(40)]
    assert raw(list(log.load(out / "episodes.jsonl"))) == raw(collect(here, plans))


def test_a_broker_starts_and_is_found() -> None:
    port = free_port()
    with started("broker", "--port", port) as serving:
        assert serving.stdout is not None
        assert f"at mqtt://127.0.0.1:{port}" in serving.stdout.readline()
        result = marl("broker", f"mqtt://127.0.0.1:{port}")
        assert re.fullmatch(rf"mqtt://127.0.0.1:{port}: MQTT (5|3.1.1), round trip \d+\.\d ms at QoS 1\n", result.out)
        serving.terminate()
        assert serving.wait(30) == 130
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0, "the broker was left behind"
    assert "is taken: choose another port" in marl("broker", "--port", broker("mosquitto").port).err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["broker", "mqtt://127.0.0.1:1"], "no broker answers at mqtt://127.0.0.1:1"),
        (["host", "mqtt://127.0.0.1:1", "lewis", "--out", "{tmp}"], "no broker answers at mqtt://127.0.0.1:1"),
        (["agent", "mqtt://127.0.0.1:1", "--seat", "a"], "no broker answers at mqtt://127.0.0.1:1"),
        (["join", "mqtt://127.0.0.1:1", "--seat", "a"], "no broker answers at mqtt://127.0.0.1:1"),
        (["host", "http://x", "lewis", "--out", "{tmp}"], "is not the address of a broker"),
        (["host", "{url}", "lewis", "--run", "a/b", "--out", "{tmp}"], "'a/b' cannot be a name"),
        (["host", "{url}", "lewis", "--seat", "nobody=random"], "with a seat out of sender_0, receiver_0"),
        (["host", "{url}", "lewis", "--seat", "sender_0=human"], "people take theirs with marl join"),
        (["host", "{url}", "lewis", "--seat", "sender_0=random", "--seat", "receiver_0=random"], "use marl play"),
        (["host", "{url}", "lewis", "--wait", "0.1", "--out", "{tmp}"], "the seat sender_0 was not there within 0.1 s"),
        (["agent", "{url}", "--seat", "a", "--policy", "clever"], "a policy is random, follow or trained:RUN"),
        (["agent", "{url}", "--seat", "a", "--seat", "b", "--token", "x"], "1 tokens for 2 seats"),
        (["broker", "--acl", "{tmp}"], "--acl needs the seats"),
        (["broker", "--cert", "x.pem"], "--cert and --key belong together"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_one_sentence(words: list[str], says: str, tmp_path: Path) -> None:
    result = marl(*(word.format(url=broker("mosquitto").url, tmp=tmp_path) for word in words))
    assert result.code == 2
    assert says in result.err
    (sentence,) = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert result.err.endswith(sentence + "\n")


def test_an_access_list() -> None:
    assert acl("game", ["a_0"]).splitlines() == [
        "user host",
        "topic readwrite sabir/game/#",
        "",
        "user watch",
        "topic read sabir/game/#",
        "",
        "user a_0",
        "topic write sabir/game/+/from/a_0",
        "topic read sabir/game/+/to/a_0",
        "topic read sabir/game/lobby/from/referee",
    ]
