"""What a broker refuses is one sentence soon and an end, never a loop of connections."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typing_extensions import override

from protocols import clock
from protocols.envelope import Envelope, Kind
from protocols.errors import ProtocolError
from protocols.mqtt.address import parse, untrusted
from protocols.mqtt.broker import Access, Mosquitto, mosquitto
from protocols.mqtt.bus import MqttBus
from protocols.mqtt.outgoing import Outgoing
from protocols.mqtt.refusal import Limits
from tests.protocols.mqtt.test_mqtt_bus import TOPIC, certificates, refusal

needs_mosquitto = pytest.mark.skipif(mosquitto() is None, reason="limits need mosquitto")


class Limited(Mosquitto):
    """Mosquitto with further lines of configuration."""

    further = ""

    @override
    def configuration(self) -> str:
        return super().configuration() + self.further + "\n"


@contextmanager
def limited(*lines: str) -> Iterator[Mosquitto]:
    server = Limited()
    server.further = "\n".join(lines)
    with server:
        yield server


def ending(url: str, *publishes: tuple[str, int], retain: bool = False) -> tuple[str, int]:
    """Publish texts of so many letters; return what ended the bus within ten seconds, and its connections."""
    bus = MqttBus(url)

    async def main() -> None:
        async with asyncio.timeout(10), bus:
            for n, (topic, size) in enumerate(publishes):
                envelope = Envelope("0", "b_0", n, Kind.SAY, body="x" * size)
                await (bus.announce if retain else bus.publish)(topic, envelope)
            await bus.broken()

    with pytest.raises(ProtocolError) as ended:
        clock.run(main(), "wall")
    return str(ended.value), bus.connections


@needs_mosquitto
def test_a_packet_over_the_limit() -> None:
    with limited("max_packet_size 250") as small:
        says, connections = ending(small.url, (TOPIC, 10), (TOPIC, 300))
    assert "takes packets of at most 250 bytes, and a message on sabir/run/0/to/a_0 needs 385" in says
    assert connections == 1


@needs_mosquitto
def test_a_packet_of_just_the_limit() -> None:
    """The size is counted as the broker counts it, to the byte."""
    with limited("max_packet_size 250") as small:
        says, _ = ending(small.url, (TOPIC, 165), (TOPIC, 166))
    assert "needs 251" in says


@needs_mosquitto
@pytest.mark.parametrize("line", ["message_size_limit 250", "max_packet_size 250"])
def test_a_message_over_a_limit_that_the_broker_does_not_tell(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Limits, "of", lambda properties: Limits())
    with limited(line) as small:
        says, connections = ending(small.url, (TOPIC, 300))
    assert "takes no packets of this size" in says or "it may take no messages as large as the 359 bytes" in says
    assert connections <= 6


@needs_mosquitto
@pytest.mark.parametrize("retain", [False, True])
def test_a_topic_that_the_access_list_forbids(tmp_path: Path, retain: bool) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic read #\ntopic readwrite sabir/game/lobby/#\n")
    with Mosquitto(access=Access(acl=acl)) as guarded:
        says, connections = ending(guarded.url, ("sabir/game/lobby/to/a", 1), ("sabir/game/0/to/a", 1), retain=retain)
    assert "does not let a user without a name publish on sabir/game/0/to/a: allow it in the broker's" in says
    assert connections == 1


@needs_mosquitto
@pytest.mark.parametrize(
    ("line", "says"),
    [("retain_available false", "keeps no retained messages"), ("max_qos 0", "acknowledges no messages")],
)
def test_features_that_are_off(line: str, says: str) -> None:
    with limited(line) as poor:
        assert says in refusal(poor.url)


@needs_mosquitto
def test_a_client_id_that_another_connection_has() -> None:
    with limited("use_username_as_clientid true") as shared:
        url = shared.url.replace("mqtt://", "mqtt://joe@")

        async def main() -> tuple[str, int]:
            one, other = MqttBus(url), MqttBus(url)
            with pytest.raises(ProtocolError):  # noqa: PT012
                async with asyncio.timeout(20), one, other:
                    ends = [asyncio.create_task(bus.broken()) for bus in (one, other)]
                    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                    await asyncio.gather(*(end for end in ends if end.done()))
            return str(one.failure or other.failure), one.connections + other.connections

        says, connections = clock.run(main(), "wall")
    assert "same client id" in says
    assert connections <= 14


@needs_mosquitto
def test_more_publishes_than_the_broker_takes_at_once() -> None:
    """A broker of MQTT 5 ends a connection that has more unacknowledged publishes than it allows."""
    server = Limited()
    configuration = server.configuration()
    server.configuration = lambda: configuration.replace("inflight_messages 0", "inflight_messages 3")  # type: ignore[method-assign]
    with server:

        async def main() -> None:
            async with asyncio.timeout(20), MqttBus(server.url) as bus:
                for n in range(60):
                    await bus.publish(TOPIC, Envelope("0", "b_0", n, Kind.SAY))
                await bus.flush()
                assert bus.connections == 1

        clock.run(main(), "wall")


def test_announcements_keep_their_place_among_later_publishes() -> None:
    out = Outgoing()
    first = out.add("t", b"old", retain=True, announced=True)
    out.acknowledge(first)
    second = out.add("t", b"newer", retain=False)
    assert out.unsent() == [first, second]
    out.acknowledge(second)
    third = out.add("t", b"newest", retain=True, announced=True)
    out.acknowledge(first)
    assert out.unsent() == [third]


@needs_mosquitto
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket")
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket")
def test_an_expired_certificate(tmp_path: Path) -> None:
    access = certificates(tmp_path)
    openssl = shutil.which("openssl") or ""
    words = ["req", "-new", "-key", str(access.key), "-subj", "/CN=localhost", "-out", str(tmp_path / "csr.pem")]
    subprocess.run([openssl, *words], check=True, capture_output=True)
    (tmp_path / "ca").mkdir()
    for name, text in (("index.txt", ""), ("serial", "01\n")):
        (tmp_path / "ca" / name).write_text(text)
    conf = tmp_path / "ca.cnf"
    conf.write_text(
        f"[ca]\ndefault_ca=d\n[d]\ndatabase={tmp_path}/ca/index.txt\nserial={tmp_path}/ca/serial\n"
        f"new_certs_dir={tmp_path}/ca\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n"
    )
    words = ["ca", "-batch", "-config", str(conf), "-selfsign", "-keyfile", str(access.key), "-in"]
    words += [str(tmp_path / "csr.pem"), "-startdate", "20200101000000Z", "-enddate", "20200102000000Z"]
    expired = tmp_path / "expired.pem"
    subprocess.run([openssl, *words, "-out", str(expired), "-notext"], check=True, capture_output=True)
    with Mosquitto(access=Access(certificate=expired, key=access.key)) as guarded:
        url = guarded.url.replace("127.0.0.1", "localhost")
        assert refusal(f"{url}?cafile={expired}") == (
            f"the certificate of {url} has expired: renew it on the broker, or set this machine's clock"
        )


@pytest.mark.parametrize(
    ("why", "says"),
    [
        ("certificate is not yet valid", "is not valid yet: set this machine's clock"),
        ("self-signed certificate", "name its authority with ?cafile=PATH"),
        ("unable to get local issuer certificate", "name its authority with ?cafile=PATH"),
        ("Hostname mismatch, certificate is not valid for 'x'", "is not for host: connect to the name it is for"),
        ("EE certificate key too weak", "is not accepted (EE certificate key too weak)"),
    ],
)
def test_why_a_certificate_is_not_accepted(why: str, says: str) -> None:
    assert says in untrusted(parse("mqtts://host"), why)
