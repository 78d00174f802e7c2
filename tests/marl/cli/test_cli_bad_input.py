"""What people get wrong about channels, graphs, seats and brokers: one sentence each, and no traceback."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from marl.policy.scripted import Random
from protocols.mqtt import access
from protocols.mqtt.broker import Access, Mosquitto, mosquitto
from tests.brokers import broker
from tests.marl.cli.test_cli_host import started
from tests.marl.conftest import marl
from tests.marl.remote.elsewhere import elsewhere

needs_mosquitto = pytest.mark.skipif(mosquitto() is None, reason="passwords and TLS need mosquitto")
GRAPHML = '<graphml xmlns="http://graphml.graphdrawing.org/xmlns"><graph edgedefault="undirected">{}</graph></graphml>'
MISSING = "No such file or directory"
SEATS = "the seats are sender_0, receiver_0"


def sentence(*words: object) -> str:
    """Run a command that has to fail, and return its one sentence: nothing may stand around it."""
    result = marl(*words)
    assert result.code == 2
    assert result.out == ""
    lines = [line for line in result.err.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("error: ")]
    assert said == lines[-1:], result.err
    assert "Traceback" not in result.err
    return said[0]


def graph(folder: Path, text: str) -> str:
    path = folder / "net.graphml"
    path.write_text(text)
    return f'{{type = "graphml", path = "{path}"}}'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GRAPHML.format('<node id="sender_0"/><node id="eve_0"/>'), f"net.graphml: no seat 'eve_0'; {SEATS}"),
        (
            GRAPHML.format('<node id="sender_0"/><edge source="sender_0" target="sender_0"/>'),
            "net.graphml: 'sender_0' cannot hear itself",
        ),
        ("sender_0 -> receiver_0", "net.graphml is not a GraphML file"),
        ("", "net.graphml is not a GraphML file"),
    ],
    ids=["unknown seat", "self-loop", "other text", "empty"],
)
def test_a_graph_that_does_not_fit(text: str, says: str, tmp_path: Path) -> None:
    over = graph(tmp_path, text)
    assert says in sentence("play", "lewis", f"topology={over}")
    out = tmp_path / "run"
    assert says in sentence("train", "lewis", f"scenario.topology={over}", f"out={out}")
    assert not out.exists()  # nothing was begun


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ('channels.side={members=["sender_0", "eve_0"]}', f"channel side: no seat 'eve_0'; {SEATS}"),
        ('channel=[{type="eavesdrop", seat="eve_0"}]', f"channel public: no seat 'eve_0'; {SEATS}"),
        ('floor={type="moderator", seat="eve_0"}', f"floor: no seat 'eve_0'; {SEATS}"),
        ('topology={type="edges", edges=[["sender_0", "eve_0"]]}', f"topology: no seat 'eve_0'; {SEATS}"),
        ('closed=["side"]', "there is no channel 'side' to close; there are public"),
    ],
    ids=["member", "eavesdropper", "moderator", "edge", "closed"],
)
def test_a_channel_that_names_what_does_not_exist(setting: str, says: str, tmp_path: Path) -> None:
    assert says in sentence("play", "lewis", setting)
    assert says in sentence("host", "mqtt://127.0.0.1:1", "lewis", setting, "--out", tmp_path / "hosted")
    assert says in sentence("train", "lewis", f"scenario.{setting}", f"out={tmp_path / 'run'}")
    assert list(tmp_path.iterdir()) == []


def test_two_agents_that_claim_one_seat(tmp_path: Path) -> None:
    url = broker("mosquitto").url
    host = ["host", url, "lewis", "--run", "claimed", "--open", "--out", tmp_path, "--wait", 60]
    with started(*host) as hosting, elsewhere(url, "claimed", {"sender_0": Random()}) as notices:
        while not any("joined the run" in notice for notice in notices):
            time.sleep(0.05)
        for command in ("agent", "join"):
            said = sentence(command, url, "--run", "claimed", "--seat", "sender_0")
            assert said.endswith("sender_0 is taken by another agent: choose another seat, or stop that one")
        said = sentence("agent", url, "--run", "claimed", "--seat", "nobody_0")
        assert said.endswith("the run claimed has no remote seat 'nobody_0': choose one of sender_0, receiver_0")
        with elsewhere(url, "claimed", {"receiver_0": Random()}):
            output = hosting.communicate(timeout=60)[0]
    assert hosting.returncode == 0, output
    assert "2 seat is taken" in output


def test_a_seat_that_is_named_twice(tmp_path: Path) -> None:
    twice = ("--seat", "sender_0=random", "--seat", "sender_0=random")
    assert "sender_0 is given twice" in sentence("play", "lewis", *twice)
    assert "sender_0 is filled twice" in sentence("host", "mqtt://127.0.0.1:1", "lewis", *twice, "--out", tmp_path)
    url = broker("mosquitto").url
    assert "--seat a_0 is given twice" in sentence("agent", url, "--seat", "a_0", "--seat", "a_0")


def test_no_broker(tmp_path: Path) -> None:
    url = "mqtt://127.0.0.1:1"
    says = (
        f"error: no broker answers at {url} (Connection refused): start one with `marl broker`, or check host and port"
    )
    assert sentence("broker", url) == says
    for command in ("agent", "join"):
        assert sentence(command, url, "--seat", "sender_0") == says
    assert sentence("host", url, "lewis", "--out", tmp_path / "hosted") == says
    out = tmp_path / "run"
    assert (
        sentence("train", "lewis", f'host={{url="{url}"}}', f"out={out}", "policy.width=16", "policy.heads=2") == says
    )


@needs_mosquitto
def test_a_wrong_password(tmp_path: Path) -> None:
    files, _ = access.write(tmp_path, "game", ["sender_0", "receiver_0"])
    with Mosquitto(access=files) as guarded:
        at = f"127.0.0.1:{guarded.port}"
        mend = "check user and password in mqtt://USER:PASSWORD@HOST:PORT"
        for user, who in (("sender_0:wrong@", "the user 'sender_0'"), ("", "a user without a name")):
            says = f"error: the broker at mqtt://{at} refuses {who}: {mend}"
            assert sentence("broker", f"mqtt://{user}{at}") == says
            assert sentence("agent", f"mqtt://{user}{at}", "--seat", "sender_0") == says
            assert sentence("join", f"mqtt://{user}{at}", "--seat", "sender_0") == says
            assert sentence("host", f"mqtt://{user}{at}", "lewis", "--out", tmp_path / "hosted") == says


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a certificate that signs itself, for `name` alone."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("making certificates needs openssl")
    folder.mkdir()
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name.partition(':')[2]}"]
    files = (folder / "cert.pem", folder / "key.pem")
    command = [openssl, *words, "-addext", f"subjectAltName={name}", "-keyout", str(files[1]), "-out", str(files[0])]
    subprocess.run(command, check=True, capture_output=True)
    return files


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[Mosquitto, Path]]:
    """A broker with a certificate for example.org, at 127.0.0.1."""
    cert, key = certificate(tmp_path / "elsewhere", "DNS:example.org")
    with Mosquitto(access=Access(certificate=cert, key=key)) as serving:
        yield serving, cert


@needs_mosquitto
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket")  # paho leaves it open where TLS failed
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket")
def test_a_wrong_certificate(guarded: tuple[Mosquitto, Path], tmp_path: Path) -> None:
    serving, cert = guarded
    other, _ = certificate(tmp_path / "other", "IP:127.0.0.1")
    url, none = serving.url, tmp_path / "none.pem"
    untrusted = f"error: the certificate of {url} is not trusted (self-signed certificate): "
    expected = {
        url: untrusted + "name its authority with ?cafile=PATH",
        f"{url}?cafile={other}": untrusted + f"its authority is not in {other}",
        f"{url}?cafile={cert}": f"error: the certificate of {url} is not for 127.0.0.1: connect to the name it is for",
        f"{url}?cafile={none}": f"error: {none}: no certificate authority can be read from it ({MISSING})",
    }
    for address, says in expected.items():
        assert sentence("broker", address) == says
        assert sentence("join", address, "--seat", "sender_0") == says
        assert sentence("host", address, "lewis", "--out", tmp_path / "hosted") == says


def test_a_certificate_that_a_broker_cannot_use(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path / "one", "DNS:localhost")
    _, another = certificate(tmp_path / "two", "DNS:localhost")
    assert "are not a certificate and its key (KEY_VALUES_MISMATCH)" in sentence(
        "broker", "--cert", cert, "--key", another
    )
    assert "are not a certificate and its key" in sentence("broker", "--cert", key, "--key", cert)
    assert f"{tmp_path}/no.pem does not exist" in sentence("broker", "--cert", tmp_path / "no.pem", "--key", key)
