"""What servers of other people answer and refuse: thoughts, parts, silence, errors, keys, proxies, settings, roles."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from marl.episode import Episode
from marl.policy.endpoint import SILENCE, sendable
from marl.policy.endpoint_response import Failure, retry_after
from marl.policy.scripted import Random
from marl.rollout.plan import Plan
from tests.marl.conftest import marl
from tests.marl.policy.test_endpoint import Answer, Server, game, says, seats
from tests.marl.policy.test_endpoint import server as server  # the fixture
from tests.marl.worlds import one, world


def message(content: Any, finish: str = "stop", **fields: Any) -> Answer:
    choice = {"message": {"role": "assistant", "content": content, **fields}, "finish_reason": finish}
    return 200, {}, json.dumps({"choices": [choice], "usage": None}).encode()


def stated(status: int, text: str) -> Answer:
    return status, {}, json.dumps({"error": {"message": text}}).encode()


def talk(address: str) -> Episode:
    here = world("negotiation")
    return one(here, Plan("e", {"negotiator_0": seats(here, address)["negotiator_0"], "negotiator_1": Random()}, 1))


def replies(episode: Episode) -> list[str]:
    return [e.envelope.body for e in episode.log.entries if e.envelope.sender == "negotiator_0"]


@pytest.mark.parametrize(
    "answer",
    [
        message("<think>\nm3 is a bluff.\n</think>\n\nm1"),
        message("m3 is a bluff.\n</think>\n\nm1"),
        message("[THINK]m3 is a bluff.[/THINK]m1"),
        message("m1", reasoning_content="m3 is a bluff."),
        message("m1", reasoning="m3 is a bluff."),
        message([{"type": "thinking", "thinking": [{"type": "text", "text": "m3 is a bluff."}]}, "m1"]),
        message([{"type": "reasoning", "text": "m3 is a bluff."}, {"type": "text", "text": "m1"}]),
    ],
)
def test_a_thought_is_kept_and_is_no_reply(server: Server, answer: Answer) -> None:
    server.answers = [answer]
    episode = game(server.address())
    assert (len(server.asked), episode.turns[0].words) == (1, ("m1",))
    assert episode.turns[0].sample.thought == "m3 is a bluff."
    assert episode.log.entries[2].envelope.data["thought"] == "m3 is a bluff."


@pytest.mark.parametrize("thought", ["<think>the books are mi", "<reasoning>the books", "Hm.</think>"])
def test_a_reply_that_is_cut_in_its_thought_says_nothing_of_it(
    server: Server, thought: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers = [message(thought, "length"), message("i want hats"), message("0 0 0")]
    with caplog.at_level(logging.WARNING):
        episode = talk(server.address())
    assert replies(episode)[0] == "i want hats"
    assert server.asked[1]["messages"][-1]["content"].count("Your reply was cut off.") == 1
    assert "used up max_tokens (256)" in caplog.text
    hopeless = [message(None, "length", reasoning_content="hm"), message(None, "length", reasoning_content="hm")]
    server.answers = [*hopeless, message("0 0 0")]
    silent = talk(server.address(tries=2))
    assert (silent.turns[0].words, silent.turns[0].sample.finish) == ((), "length")


def test_play_warns_once_that_thought_used_up_the_tokens(server: Server) -> None:
    server.answers = [message(None, "length", reasoning_content="hm")]
    done = marl("play", "lewis", "--seat", f"sender_0={server.address(max_tokens=7)}")
    assert done.code == 0
    assert done.err.count("warning: the endpoint http://127.0.0.1") == 1
    assert "used up max_tokens (7): raise ?max_tokens" in done.err


def test_a_server_whose_prompt_opens_the_thought_is_known_after_one_reply(server: Server) -> None:
    server.answers = [message("Books?</think>\nbooks"), message("so the books are", "length"), message("0 0 0")]
    episode = talk(server.address(tries=1))
    assert "so the books are" not in replies(episode)
    server.answers = [message("so the books are", "length"), message("books"), message("0 0 0")]
    episode = talk(server.address(tries=2, thinks="true"))
    assert replies(episode)[0] == "books"


@pytest.mark.parametrize(
    "status", [408, 409, 425, 429, 498, 500, 502, 503, 504, 507, 520, 521, 522, 523, 524, 529, 530, 599]
)
def test_busy_servers_are_asked_again(server: Server, status: int) -> None:
    server.answers = [(status, {"Retry-After": "0"}, b"<html>busy"), stated(status, "Overloaded"), says("m1")]
    episode = game(server.address())
    assert (episode.error, episode.turns[0].words, len(server.asked)) == ("", ("m1",), 3)


@pytest.mark.parametrize("status", [400, 402, 404, 405, 413, 415, 422, 451, 501, 505, 511])
def test_a_refusal_that_lasts_is_not_asked_again(server: Server, status: int) -> None:
    server.answers = [stated(status, "no")]
    episode = game(server.address())
    assert episode.error.endswith(f"refuses to chat with 'tiny' ({status} no)")
    assert len(server.asked) == 1


def test_how_long_to_wait_is_read_from_the_headers() -> None:
    assert retry_after({"retry-after": "7"}) == 7
    assert retry_after({"retry-after-ms": "250", "retry-after": "7"}) == 0.25
    assert retry_after({"retry-after": "-3"}) == 0
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({}) is None


@pytest.mark.parametrize(
    ("body", "reason", "requests"),
    [
        ({"error": {"message": "used up", "code": 429}}, "is over its limit (429 used up) (2 tries)", 2),
        ({"error": {"message": "used up", "code": "429"}, "choices": None}, "is over its limit (429 used up)", 2),
        ({"error": {"message": "used up", "type": "rate_limit_exceeded"}}, "is over its limit (429 used up)", 2),
        ({"error": {"message": "bad gateway", "code": 502}, "choices": []}, "fails (502 bad gateway)", 2),
        ({"error": "the model crashed"}, "returned an error (the model crashed)", 2),
        ({"choices": [{"error": {"message": "gone", "code": 503}, "message": {"content": ""}}]}, "fails (503 gone)", 2),
        ([{"error": {"message": "full", "status": "RESOURCE_EXHAUSTED"}}], "is over its limit (429 full)", 2),
        ({"base_resp": {"status_code": 1002, "status_msg": "slow down"}}, "returned an error (slow down)", 2),
        ({"object": "error", "message": "no such model", "code": 404}, "refuses to chat with 'tiny' (404 no such", 1),
        ({"error": {"message": "no credit", "code": 402}}, "refuses to chat with 'tiny' (402 no credit)", 1),
        ({"error": {"message": "wrong key", "code": 401}}, "refuses the key (401 wrong key): set the environment", 1),
        ({"detail": "down for repair"}, "returned an error (down for repair)", 2),
    ],
)
def test_an_error_in_a_response_of_status_200_is_told(server: Server, body: Any, reason: str, requests: int) -> None:
    server.answers = [(200, {}, json.dumps(body).encode())]
    episode = game(server.address(tries=2))
    assert reason in episode.error
    assert len(server.asked) == requests


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": "m1"}],
        ["m1"],
        {"type": "text", "text": "m1"},
        [{"type": "output_text", "text": "m1"}],
        [{"type": "text", "text": "m1"}, {"type": "image_url", "image_url": {"url": "x"}}],
        "```\nm1\n```",
        "```text\n M1. \n```",
    ],
)
def test_content_in_parts_and_fences_is_read(server: Server, content: Any) -> None:
    server.answers = [message(content)]
    episode = game(server.address())
    assert (episode.turns[0].words, len(server.asked)) == (("m1",), 1)


@pytest.mark.parametrize(
    "nothing", ["", " \n", None, "<think>I say nothing.</think>", [], [{"type": "text", "text": ""}]]
)
def test_silence_is_never_sent_as_an_empty_message(server: Server, nothing: Any) -> None:
    server.answers = [message(nothing), message("hats please"), message("0 0 0")]
    episode = talk(server.address())
    assert episode.error == ""
    for asked in server.asked:
        assert all(sent["content"].strip() for sent in asked["messages"])
        roles = [sent["role"] for sent in asked["messages"]]
        assert roles == ["system", *(["user", "assistant"] * len(roles))[: len(roles) - 1]]
    assert SILENCE in server.asked[1]["messages"][1]["content"]
    server.answers = [message(nothing), says("m1")]
    assert game(server.address(tries=3)).turns[0].words == ("m1",)
    assert all(sent["content"].strip() for sent in server.asked[-1]["messages"])


def test_messages_can_be_sent() -> None:
    conversation = [{"role": "user", "content": "  "}, {"role": "assistant", "content": "\n"}]
    assert sendable(conversation) == [{"role": "user", "content": "Your turn."}]
    assert sendable([{"role": "user", "content": "a\ud800"}]) == [{"role": "user", "content": "a?"}]


def test_settings_that_a_server_does_not_take_are_left_out(server: Server) -> None:
    assert game(server.address(omit="max_tokens,seed,temperature")).error == ""
    assert server.asked[0].keys() == {"model", "messages"}
    server.answers = [stated(400, "Unsupported value: 'temperature' does not support 0.5 with this model.")]
    assert game(server.address(tries=1)).error.endswith("with this model.): ?omit=temperature leaves it out")
    refused = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    server.asked.clear()
    server.answers = [stated(400, refused), says("m1"), says("m1")]
    address = server.address(max_tokens=9)
    assert [game(address).error for _ in range(2)] == ["", ""]
    assert [asked.get("max_completion_tokens") for asked in server.asked] == [None, 9, 9]
    assert "max_tokens" not in server.asked[1]


@pytest.mark.parametrize(
    "refusal",
    [
        stated(400, "this model takes no system role"),
        stated(400, "Conversation roles must alternate user/assistant/user/assistant/..."),
        stated(400, "Developer instruction is not enabled for models/gemma-3"),
        stated(422, "messages[0]: unknown variant"),
        stated(500, "Jinja Exception: System role not supported"),
        (200, {}, b'{"error": {"message": "system role not supported", "code": 400}}'),
        (400, {}, b""),
    ],
)
def test_rules_stand_in_the_first_user_message_where_a_system_message_is_refused(
    server: Server, refusal: Answer
) -> None:
    server.answers = [refusal, says("m1"), says("m1")]
    address = server.address()
    assert [game(address).turns[0].words for _ in range(2)] == [("m1",), ("m1",)]
    roles = [[sent["role"] for sent in asked["messages"]] for asked in server.asked]
    assert roles == [["system", "user"], ["user"], ["user"]]
    system, user = server.asked[0]["messages"]
    assert server.asked[1]["messages"][0]["content"] == f"{system['content']}\n\n{user['content']}"


def test_where_the_rules_stand_can_be_set(server: Server) -> None:
    game(server.address(system="fold"))
    assert [sent["role"] for sent in server.asked[0]["messages"]] == ["user"]
    server.answers = [stated(400, "no system role here")]
    error = game(server.address(system="send")).error
    assert error.endswith("(400 no system role here): ?system=fold puts the rules into the first user message")
    server.asked.clear()
    error = game(server.address(system="auto", tries=1)).error
    assert (error.count("400 no system role here"), len(server.asked)) == (1, 2)
    server.answers = [stated(400, "no system role here"), stated(400, "the context is full")]
    assert "no system role here" in game(server.address(system="auto", tries=2)).error, "the first refusal is told"


def test_only_statuses_that_may_pass_are_retried() -> None:
    assert [status for status in range(400, 620) if Failure(status, "").retried] == [
        *(408, 409, 425, 429, 498),
        *(status for status in range(500, 600) if status not in (501, 505, 506, 510, 511)),
    ]
