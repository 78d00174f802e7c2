"""Tokens stay secret: in the log of rejections, in files, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from marl.cli.commands.remote.tokens import TOKEN, of_seats
from marl.errors import UserError
from marl.remote.rejections import Reason, Rejections
from protocols.mqtt.address import PASSWORD, parse

SECRET = 'tok"en-of\\a'


@pytest.mark.parametrize(
    "payload",
    [
        json.dumps({"n": 0, "data": {"token": SECRET}}).encode(),
        json.dumps({"data": {"token": SECRET, "thought": "x" * 900}}).encode(),
        json.dumps({"body": "y" * 290, "data": {"token": SECRET}}).encode(),  # cut off in the middle of it
        json.dumps({"data": {"token": "a stranger's guess"}}).encode(),
        b'{"data": {"\\u0074oken": "a stranger\'s guess"}}',
        b'{"data": {"token" : "a stranger\'s gue',
        json.dumps({"body": f"my token is {SECRET}"}).encode(),
    ],
)
def test_rejections_hold_no_token(tmp_path: Path, payload: bytes) -> None:
    path = tmp_path / "refused.jsonl"
    Rejections(path, ["", SECRET]).add(Reason.REPLAYED, f"sabir/run/{SECRET}/from/a", payload, f"n {SECRET}")
    (line,) = map(json.loads, path.read_text().splitlines())
    assert not any(secret in str(line.values()) for secret in (SECRET, json.dumps(SECRET)[1:-1], "guess", "gue"))
    assert "tok\\" not in line["payload"]
    assert path.stat().st_mode & 0o077 == 0


def test_tokens_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, lines = tmp_path / "tokens.json", tmp_path / "tokens.txt"
    file.write_text(json.dumps({"a": "1", "b": "2", "c": "3"}))
    lines.write_text("\ufeff4\r\n5\r\n", encoding="utf-8")
    monkeypatch.setenv(TOKEN, "6 7")
    seats = ["b", "a"]
    assert of_seats(seats, [], file) == {"b": "2", "a": "1"}
    assert of_seats(seats, [], lines) == {"b": "4", "a": "5"}
    assert of_seats(seats, [], None) == {"b": "6", "a": "7"}
    assert of_seats(seats, ["8", "9"], None) == {"b": "8", "a": "9"}
    monkeypatch.delenv(TOKEN)
    assert of_seats(seats, [], None) == {}
    file.write_text('{"a": ')
    for tokens, path, says in (
        ([], file, "is not JSON"),
        ([], tmp_path / "none", "cannot be read"),
        (["1", "2"], file, "give one of them"),
        (["1"], None, "1 tokens for 2 seats"),
    ):
        with pytest.raises(UserError, match=says):
            of_seats(seats, tokens, path)


def test_a_password_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD, "hidden")
    assert parse("mqtt://anna@host").password == "hidden"
    assert parse("mqtt://anna:shown@host").password == "shown"
    assert parse("mqtt://host").password is None
