"""Endpoints: failures of servers are retried or reported in one sentence, and the key stays secret.

The server of the quick tests is a stand-in that fails on demand; the slow test plays with `transformers serve`.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenas.spec import choose, fill, say
from marl.episode import Episode, Stop
from marl.errors import UserError
from marl.policy import openai_client as endpoint
from marl.policy.base import Policy
from marl.policy.endpoint import EndpointPolicy, fit
from marl.policy.openai_client import connect
from marl.policy.scripted import Random
from marl.rollout.plan import Plan
from marl.rollout.replay import replay
from marl.scenario.world import World
from tests.marl.conftest import marl
from tests.marl.worlds import one, played, world

pytest.importorskip("httpx2")
Answer = tuple[int, dict[str, str], bytes]
KEY: Final = "sk-secret-of-this-test"


def says(text: Any, prompt: int = 10, completion: int = 5) -> Answer:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion}
    return 200, {}, json.dumps({"choices": [{"message": {"content": text}}], "usage": usage}).encode()


class Server(ThreadingHTTPServer):
    """Answers request after request from a list, the last one over and over; keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[Answer | float] = [says("m0")]
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.gate: threading.Semaphore | None = None  # one answer for each release
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def address(self, **settings: Any) -> str:
        query = "&".join(f"{name}={value}" for name, value in settings.items())
        return f"openai:http://127.0.0.1:{self.server_port}/v1{'?' + query if query else ''}#tiny"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.server.keys.append(self.headers.get("Authorization"))
        if self.server.gate is not None:
            self.server.gate.acquire()
        waiting = self.server.answers
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(answer, float):
            time.sleep(answer)
            return
        status, headers, body = answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(BrokenPipeError, ConnectionResetError):  # who asked may have left
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(endpoint, "WAIT", 0.001)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    connect.cache_clear()
    with Server() as stand_in:
        yield stand_in
        stand_in.shutdown()


def seats(here: World, address: str) -> dict[str, Policy]:
    return {seat: EndpointPolicy(connect(address), here.about(seat)) for seat in here.agents}


def game(address: str) -> Episode:
    here = world("lewis")
    return one(here, Plan("e", {"sender_0": seats(here, address)["sender_0"], "receiver_0": Random()}, 1))


def test_a_model_is_told_the_rules_and_how_to_reply(server: Server) -> None:
    server.answers = [says('"M2."')]
    episode = game(server.address(temperature=0.5, max_tokens=7))
    assert episode.turns[0].words == ("m2",)
    (asked,) = server.asked
    assert (asked["model"], asked["temperature"], asked["max_tokens"]) == ("tiny", 0.5, 7)
    system, user = asked["messages"]
    assert system["role"] == "system"
    assert "You are sender_0. Lewis signalling" in system["content"]
    assert "Answer with one of: m0, m1, m2, m3." in user["content"]
    assert server.keys == [f"Bearer {KEY}"]
    assert KEY not in episode.log.to_bytes().decode()


@pytest.mark.parametrize("clock", ["virtual", "wall"])
def test_both_seats_of_many_episodes_talk_under_either_clock(server: Server, clock: Any) -> None:
    here = world("lewis")
    server.answers = [says("m1")]
    episodes = played(here, seats(here, server.address()), 12, clock=clock)
    assert [episode.error for episode in episodes] == [""] * 12
    assert len(server.asked) == 36  # a receiver that says m1 is asked once more
    assert all([turn.legal for turn in episode.turns] == [True, False] for episode in episodes)


def test_a_reply_that_is_not_legal_is_asked_for_once_more(server: Server) -> None:
    server.answers = [says("I think m9"), says("m3"), says("m0")]
    episode = game(server.address())
    assert episode.turns[0].words == ("m3",)
    again = server.asked[1]["messages"]
    assert [message["role"] for message in again] == ["system", "user", "assistant", "user"]
    assert again[2]["content"] == "I think m9"
    assert again[3]["content"].startswith("That is not a legal reply. Answer with one of: m0")
    assert server.asked[0]["seed"] != server.asked[1]["seed"]
    server.answers = [says("no"), says("never")]
    hopeless = game(server.address())
    assert (hopeless.turns[0].legal, hopeless.turns[0].words, hopeless.error) == (False, ("m0",), "")
    assert hopeless.log.entries[2].envelope.body == "never"


@pytest.mark.parametrize(
    "failure",
    [
        (500, {}, b"oops"),
        (503, {"Retry-After": "0"}, b""),
        (429, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, b'{"error": {"message": "slow down"}}'),
        (200, {}, b"<html>"),
        (200, {}, b"[]"),
        (200, {}, b'{"choices": []}'),
        (200, {}, b'{"choices": [{"message": {"content": 3}}]}'),
        (200, {}, b'{"choices": [{"message": {"content": "m1"}}], "usage": "none"}'),
        0.3,
    ],
)
def test_a_passing_failure_is_retried(server: Server, failure: Any) -> None:
    server.answers = [failure, failure, says("m1")]
    episode = game(server.address(timeout=0.15))
    assert (episode.error, episode.turns[0].words) == ("", ("m1",))
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("answer", "message", "tries"),
    [
        ((500, {}, b"oops"), r"fails \(500\) \(2 tries\)", 2),
        ((429, {}, b'{"error": {"message": "slow down"}}'), r"is over its limit \(429 slow down\) \(2 tries\)", 2),
        ((200, {}, b"<html>"), "returned an invalid response .not JSON.: is it an OpenAI-compatible server", 2),
        ((200, {}, b"{}"), "returned an invalid response .no choices", 2),
        ((401, {}, b"{}"), "refuses the key: set the environment variable OPENAI_API_KEY", 1),
        ((404, {}, b'{"detail": "no such model"}'), "refuses to chat with 'tiny' .404 no such model", 1),
        (0.3, "does not answer within 0.1 s .2 tries", 2),
    ],
)
def test_a_lasting_failure_ends_the_episode_with_one_sentence(
    server: Server, answer: Any, message: str, tries: int
) -> None:
    server.answers = [answer]
    episode = game(server.address(timeout=0.1, tries=2))
    assert episode.stop is Stop.ERROR
    assert re.match(f"sender_0: the endpoint http://127.0.0.1:.*{message}", episode.error)
    assert KEY not in episode.error
    assert len(server.asked) == tries


def test_an_unreachable_endpoint_is_named() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"openai:http://127.0.0.1:{unused.getsockname()[1]}/v1?tries=1#m"
    assert "cannot be reached" in game(address).error
    assert "cannot be reached" in game("openai:http://no-such-host.invalid/v1?tries=1#m").error


def test_costs_are_counted_logged_and_limited(server: Server) -> None:
    address = server.address(price_in=1000, price_out=2000, spend=0.3, max_tokens=100, tries=1)
    episode = game(address)
    usage = {"prompt": 10, "completion": 5, "cost": 0.02}
    assert episode.log.entries[2].envelope.data["usage"] == usage
    assert episode.turns[0].sample.usage == usage
    here = world("lewis")
    assert one(here, replay(episode.log)).log.to_bytes() == episode.log.to_bytes()
    errors = [game(address).error for _ in range(8)]
    assert errors[:5] == [""] * 5
    assert "0.12 of 0.3 are spent: raise `spend`" in errors[5], "six requests, and a seventh might cost too much"
    assert connect(address).spent == pytest.approx(0.12)


def test_requests_keep_to_a_rate(server: Server) -> None:
    here = world("lewis")
    address = server.address(per_minute=1200)
    began = time.monotonic()
    assert len(played(here, {**seats(here, address), "receiver_0": Random()}, 5)) == 5
    assert time.monotonic() - began >= 4 * 0.05, "never sooner; how much later is no matter"
    assert len(server.asked) == 5


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("openai:", "write openai:http://HOST:PORT/v1#MODEL"),
        ("openai:http://localhost/v1", "write openai:"),
        ("openai:ftp://localhost#m", "write openai:"),
        ("openai:http://me:secret@localhost/v1#m", "must not hold a password"),
        ("openai:http://localhost/v1?temprature=1#m", "temprature: Extra inputs.*the settings are key, temperature"),
        ("openai:http://localhost/v1?tries=0#m", "tries: Input should be greater"),
    ],
)
def test_a_wrong_address_is_rejected(address: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        connect(address)


@given(st.text(max_size=40))
def test_every_text_becomes_one_line(text: str) -> None:
    for spec in (
        choose(("yes", "no")),
        say(("m0", "m1"), 2, least=0),
        fill(("a",), ("b", "c")),
        say(("x",), 1, free=9),
    ):
        line = fit(text, spec)
        assert line.isprintable() or not line
        assert fit(line, spec) == line


def test_words_are_matched_without_quotes_case_and_stops() -> None:
    assert fit(' "Yes."\n', choose(("yes", "no"))) == "yes"
    assert fit("a, **C**", fill(("a",), ("b", "c"))) == "a c"
    assert fit("yes I do", choose(("yes", "no"))) == "yes I"
    assert fit("-3.", choose(("-3", "3"))) == "-3"
    assert fit("two\nlines", say(("x",), 1, free=20)) == "two lines"


def test_play_seats_an_endpoint(server: Server) -> None:
    server.answers = [says("i want the books"), says("deal"), says("0 0 0")]
    address = server.address()
    done = marl("play", "negotiation", "--seat", f"negotiator_0={address}", "--seed", "1")
    assert done.code == 0, done.err
    assert "i want the books" in done.out
    failed = marl("play", "lewis", "--seat", "sender_0=openai:http://127.0.0.1:9/v1?tries=1#m")
    assert failed.code == 2
    assert "sender_0: the endpoint http://127.0.0.1:9/v1 cannot be reached" in failed.err
    assert "Traceback" not in failed.err


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`transformers serve` with a tiny chat model of random weights."""
    pytest.importorskip("fastapi")
    folder = saved(tmp_path_factory.mktemp("model"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", "--port", str(port), "--device", "cpu"]
    log = (folder / "server.log").open("w")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home")}
    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        for _ in range(900):
            assert process.poll() is None, (folder / "server.log").read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).read()
                break
            except OSError:
                time.sleep(0.1)
        yield f"openai:http://127.0.0.1:{port}/v1?max_tokens=8&timeout=90#{folder}"
    finally:
        process.kill()
        process.wait()
        log.close()


def saved(folder: Path) -> Path:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(special_tokens=["<|im_start|>", "<|im_end|>"], initial_alphabet=alphabet)
    backend.train_from_iterator(["m0 m1 m2 m3"], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|im_end|>")
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_real_server_plays(real: str) -> None:
    here = world("lewis")
    episodes = played(here, seats(here, real), 3)
    assert [episode.error for episode in episodes] == [""] * 3
    for episode in episodes:
        for turn in episode.turns:
            assert turn.sample.usage["prompt"] > 20
            assert turn.sample.usage["completion"] > 0
        assert one(here, replay(episode.log)).log.to_bytes() == episode.log.to_bytes()
    chatter = world("negotiation")
    (episode,) = played(chatter, seats(chatter, real), 1)
    assert episode.error == ""
    assert next(turn for turn in episode.turns if turn.spec.free).legal
