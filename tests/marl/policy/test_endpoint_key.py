"""Keys are never shown, wrong addresses and proxies are refused in a sentence, and this machine needs no proxy."""

from __future__ import annotations

import json

import pytest

from marl.episode import Stop
from marl.errors import UserError
from marl.http_client import client_options, proxy_of
from marl.policy.openai_client import connect
from tests.marl.policy.test_endpoint import KEY, Answer, Server, game
from tests.marl.policy.test_endpoint import server as server  # the fixture


def stated(status: int, text: str) -> Answer:
    return status, {}, json.dumps({"error": {"message": text}}).encode()


@pytest.mark.parametrize(
    "key", [f" {KEY}\n", f"\t{KEY}\r\n", f'"{KEY}"', f"'{KEY} '", f"\u201c{KEY}\u201d", f"\ufeff{KEY}"[1:]]
)
def test_what_stands_around_a_key_is_left_out(server: Server, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    assert game(server.address()).error == ""
    assert server.keys == [f"Bearer {KEY}", *server.keys[1:]]


@pytest.mark.parametrize(
    "key", [f"{KEY}\nx", f"{KEY} x", f"{KEY}\u2019s", f"\ufeff{KEY}", f"{KEY}\x00"[:-1] + "\x7f", f"ключ{KEY}"]
)
def test_a_key_that_no_header_holds_is_refused_and_not_shown(
    server: Server, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    error = game(server.address()).error
    assert "the key in the environment variable OPENAI_API_KEY holds" in error
    assert KEY not in error
    assert "server up" not in error
    assert server.asked == []


@pytest.mark.parametrize("status", [200, 400, 401, 403, 429, 500])
def test_a_key_that_the_server_repeats_is_not_shown(server: Server, status: int) -> None:
    server.answers = [stated(status, f"Incorrect API key provided: {KEY}.")]
    episode = game(server.address(tries=1))
    assert episode.stop is Stop.ERROR
    assert "Incorrect API key provided: ***." in episode.error
    assert KEY not in episode.error


@pytest.mark.parametrize(
    "address",
    [
        f"openai:http://localhost/v1?key={KEY}#m",
        f"openai:http://localhost/v1?key={KEY}&tries=0#m",
        f"openai:http://localhost/v1?api_key={KEY}#m",
        f"openai:http://{KEY}@localhost/v1#m",
        f"openai:http://me:{KEY}@localhost/v1#m",
        f"openai:ftp://me:{KEY}@localhost#m",
        f"openai:http://localhost/v1#m?key={KEY}",
        f"openai:http://me:{KEY}@localhost:99999/v1#m",
    ],
)
def test_an_address_with_a_key_in_it_is_refused_and_not_shown(address: str) -> None:
    with pytest.raises(UserError) as caught:
        connect(address)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("openai:http://localhost/v1#m?temperature=0", "settings stand before the #: write .*v1.temperature=...#MODEL"),
        ("openai:http://localhost/v1?tries=1#m&seed=3", "settings stand before the #"),
        ("openai:http://localhost/v1?temperature=#m", "the setting temperature has no value"),
        ("openai:http://localhost/v1?omit#m", "the setting omit has no value"),
        ("openai:http://localhost/v1?tries=1&tries=2#m", "the setting tries stands twice"),
        ("openai:http://localhost/v1?omit=top_k#m", "omit: Input should be 'max_tokens', 'seed' or 'temperature'"),
        ("openai:http://localhost/v1?omit=max_tokens&spend=1#m", "spend needs max_tokens"),
        ("openai:http://localhost/v1?system=none#m", "system: Input should be 'auto', 'send' or 'fold'"),
        ("openai:http://localhost/v1?timeout=nan#m", "timeout: Input should be a finite number"),
        ("openai:http://localhost:99999/v1#m", "its port is not a number from 1 to 65535"),
        ("openai:http://localhost:0/v1#m", "its port is not a number from 1 to 65535"),
        ("openai:http://localhost:-1/v1#m", "its port is not a number from 1 to 65535"),
        ("openai:http://localhost:8O80/v1#m", "its port is not a number from 1 to 65535"),
        ("openai:http://[::1/v1#m", "it cannot be read"),
        ("openai:http://local host/v1#m", "holds white space"),
        ("openai:http://local\ud800host/v1#m", "cannot be printed"),
        ("openai:http://localhost/v1# ", "names no model"),
    ],
)
def test_an_address_that_cannot_be_is_refused_in_a_sentence(address: str, error: str) -> None:
    with pytest.raises(UserError, match=error) as caught:
        connect(address)
    assert "\n" not in str(caught.value)


def test_loopback_needs_no_proxy(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("ALL_PROXY", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(variable, "socks5://127.0.0.1:1")
    assert game(server.address()).error == ""


@pytest.mark.parametrize(
    ("address", "environment", "variable"),
    [
        ("http://host.example/v1", {"ALL_PROXY": "socks5://p:1"}, "ALL_PROXY"),
        ("http://host.example/v1", {"HTTP_PROXY": "http://p:1", "ALL_PROXY": "socks5://p:1"}, "HTTP_PROXY"),
        ("https://host.example/v1", {"https_proxy": "http://p:1"}, "https_proxy"),
        ("https://host.example/v1", {"HTTP_PROXY": "http://p:1"}, ""),
        ("http://host.example/v1", {"ALL_PROXY": "http://p:1", "NO_PROXY": "x.org, .example"}, ""),
        ("http://host.example:80/v1", {"ALL_PROXY": "http://p:1", "NO_PROXY": "host.example:80"}, ""),
        ("http://host.example/v1", {"ALL_PROXY": "http://p:1", "NO_PROXY": "*.example"}, ""),
        ("http://host.example/v1", {"ALL_PROXY": "http://p:1", "NO_PROXY": "*"}, ""),
        ("http://10.1.2.3:8000/v1", {"ALL_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, ""),
        ("http://[fd00::7]:8000/v1", {"ALL_PROXY": "http://p:1", "NO_PROXY": "fd00::/8"}, ""),
        ("http://127.3.2.1/v1", {"ALL_PROXY": "http://p:1"}, ""),
        ("http://[::1]:80/v1", {"ALL_PROXY": "http://p:1"}, ""),
        ("http://LOCALHOST/v1", {"ALL_PROXY": "http://p:1"}, ""),
    ],
)
def test_the_proxy_of_an_address(
    address: str, environment: dict[str, str], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_of(address)[0] == variable
    if "socks" not in environment.get(variable, ""):
        assert ("proxy" in client_options(address, "it")) == bool(variable)


@pytest.mark.parametrize(
    ("proxy", "error"),
    [
        (
            "socks5://me:secret@p:1",
            "the SOCKS proxy in ALL_PROXY needs the package socksio: pip install 'httpx2.socks.'",
        ),
        ("socks://me:secret@p:1", "the SOCKS proxy in ALL_PROXY needs the package socksio"),
        ("socks4://me:secret@p:1", "the proxy in ALL_PROXY is of the kind socks4://, and only http, https, socks5"),
        ("http://me:secret@p:99999", "the address of the proxy in ALL_PROXY cannot be read"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named(proxy: str, error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marl.http_client.find_spec", lambda name: None)
    monkeypatch.setenv("ALL_PROXY", proxy)
    monkeypatch.setenv("NO_PROXY", "")
    failed = game("openai:http://host.example/v1?tries=1#m")
    assert failed.error.startswith("sender_0: the endpoint http://host.example/v1: ")
    assert error.replace(".socks.", "[socks]") in failed.error
    assert "secret" not in failed.error


def test_a_proxy_that_is_down_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://me:secret@127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    connect.cache_clear()
    error = game("openai:http://host.example/v1?tries=1&timeout=9#m").error
    assert "check the proxy in ALL_PROXY, or name the host in NO_PROXY" in error
    assert "secret" not in error
