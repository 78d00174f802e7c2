"""Answers of a hostile endpoint: absurd usage, deep JSON, half of a surrogate pair, endless bodies."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from typing import Any

import pytest

from marl.episode import Stop
from marl.policy import openai_client
from marl.policy.openai_client import connect
from tests.marl.policy.test_endpoint import Server, game, says
from tests.marl.policy.test_endpoint import server as server  # the fixture

LONG = b'{"choices": [{"message": {"content": "' + b"m" * (17 << 20) + b'"}}]}'


def used(tokens: str) -> tuple[int, dict[str, str], bytes]:
    return 200, {}, b'{"choices": [{"message": {"content": "m1"}}], "usage": {"prompt_tokens": %s}}' % tokens.encode()


@pytest.mark.parametrize("tokens", ["1e999", "-5", "1" + "0" * 400, "NaN", "-Infinity", "1000000001"])
def test_an_absurd_usage_is_rejected_and_spends_nothing(server: Server, tokens: str) -> None:
    server.answers = [used(tokens)]
    address = server.address(tries=1, price_in=1)
    episode = game(address)
    assert episode.stop is Stop.ERROR
    assert "returned an invalid response" in episode.error
    assert connect(address).spent == 0


@pytest.mark.parametrize(
    "answer",
    [
        (200, {}, b"[" * 200_000),
        (200, {}, b'{"choices": ' * 100_000),
        (200, {}, b'{"choices": [{"message": {"content": ' + b"1" * 5000 + b"}}]}"),
        (400, {}, b'{"error": ' * 100_000),
        (400, {}, b'{"error": "\\ud800"}'),
        (200, {}, LONG),
        (200, {"Content-Encoding": "gzip"}, gzip.compress(b" " * (64 << 20))),
    ],
    ids=["deep list", "deep table", "long number", "deep error", "half a pair in an error", "long", "packed"],
)
def test_a_hostile_answer_ends_the_episode_with_one_sentence(server: Server, answer: Any) -> None:
    server.answers = [answer]
    episode = game(server.address(tries=1, timeout=20))
    assert episode.stop is Stop.ERROR
    assert episode.error.startswith("sender_0: the endpoint http://127.0.0.1:")
    assert len(episode.error) < 500
    episode.error.encode()


def test_half_of_a_surrogate_pair_is_replaced(server: Server) -> None:
    server.answers = [says("m0 \ud800"), says("m1")]
    episode = game(server.address())
    assert (episode.error, episode.turns[0].words) == ("", ("m1",))
    assert server.asked[1]["messages"][2]["content"] == "m0 ?"
    episode.log.to_bytes()


def test_a_long_answer_is_not_read_to_its_end(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_client, "MAX_RESPONSE", 1 << 20)
    server.answers = [(200, {}, json.dumps("m" * (64 << 20)).encode())]
    tracemalloc.start()
    try:
        episode = game(server.address(tries=1, timeout=20))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "sends more than 1 MiB" in episode.error
    assert most < 32 << 20
