"""What only a bus over a broker promises: reconnects, retained announcements, the last will, and clear refusals."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from protocols import clock, topics
from protocols.bus import Subscription
from protocols.connect import connect
from protocols.envelope import MAX_BYTES, Envelope, Kind
from protocols.errors import ProtocolError
from protocols.mqtt.address import parse
from protocols.mqtt.broker import Access, Amqtt, Mosquitto, free_port, local, mosquitto
from protocols.mqtt.bus import WINDOW, MqttBus
from tests.brokers import BROKERS, broker

TOPIC = topics.to("run", "0", "a_0")
needs_mosquitto = pytest.mark.skipif(mosquitto() is None, reason="passwords and TLS need mosquitto")


def envelope(n: int, body: str = "", sender: str = "b_0") -> Envelope:
    return Envelope(episode="0", sender=sender, n=n, kind=Kind.SAY, body=body)


def play(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(60):
            await main()

    clock.run(limited(), "wall")


async def until(reached: Callable[[], bool]) -> None:
    while not reached():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.01)


async def take(inbox: Subscription, count: int) -> list[int]:
    return [(await inbox.get()).n for _ in range(count)]


def test_mqtt_5_where_the_broker_has_it() -> None:
    async def main() -> None:
        async with MqttBus(broker("amqtt").url) as bus:
            assert bus.version == 4
        if mosquitto():
            async with MqttBus(broker("mosquitto").url) as bus:
                assert bus.version == 5

    play(main)


def test_a_killed_broker_comes_back_and_nothing_is_lost_or_doubled() -> None:
    """What is published while the broker is away waits; what it swallowed unacknowledged is published again."""
    with local() as mine:

        async def main() -> None:
            async with MqttBus(mine.url) as writer, MqttBus(mine.url) as reader:
                inbox = await reader.subscribe(TOPIC)
                for n in range(10):
                    await writer.publish(TOPIC, envelope(n))
                assert await take(inbox, 10) == list(range(10))
                mine.kill()
                for n in range(10, 10 + WINDOW // 2):
                    await writer.publish(TOPIC, envelope(n))
                await asyncio.to_thread(mine.start)
                # The writer may be back first, and a new broker knows no subscription.
                await until(lambda: reader.connections == 2)
                await writer.flush()
                await writer.publish(TOPIC, envelope(1000))
                got = []
                while 1000 not in got:
                    got += await take(inbox, 1)
                assert got[-1] == 1000
                assert len(set(got)) == len(got)
                assert set(got) <= {*range(10, 10 + WINDOW // 2), 1000}
                assert (reader.connections, writer.connections) == (2, 2)

        play(main)


def test_announcements_outlive_the_broker_and_reach_those_who_come_late() -> None:
    with local() as mine:

        async def main() -> None:
            async with MqttBus(mine.url) as one:
                await one.announce(TOPIC, envelope(0, "here"))
                async with MqttBus(mine.url) as late:
                    assert (await (await late.subscribe(TOPIC)).get()).body == "here"
                mine.kill()
                await asyncio.to_thread(mine.start)
                await until(lambda: one.connections == 2)
                await one.flush()
                async with MqttBus(mine.url) as later:
                    assert (await (await later.subscribe(TOPIC)).get()).body == "here"

        play(main)


@pytest.mark.parametrize("name", BROKERS)
def test_the_last_will_speaks_for_a_connection_that_died(name: str) -> None:
    """A process that is killed says nothing; its broker does. One that leaves in good order has no will."""

    async def main() -> None:
        async with MqttBus(broker(name).url) as bus:
            inbox = await bus.subscribe(topics.to("wills", name, "+"))
            async with MqttBus(broker(name).url, (topics.to("wills", name, "a"), envelope(1, sender="a"))):
                pass
            program = (
                "import asyncio, sys, os\n"
                "from protocols.envelope import Envelope\n"
                "from protocols.mqtt import MqttBus\n"
                "async def main():\n"
                "    async with MqttBus(sys.argv[1], (sys.argv[2], Envelope.from_json(sys.argv[3]))):\n"
                "        os._exit(3)\n"
                "asyncio.run(main())\n"
            )
            will = envelope(2, sender="b").to_json().decode()
            words = ["-c", program, broker(name).url, topics.to("wills", name, "b"), will]
            child = await asyncio.create_subprocess_exec(sys.executable, *words)
            assert await child.wait() == 3
            assert await take(inbox, 1) == [2]

    play(main)


def test_publishing_waits_while_too_much_is_unacknowledged() -> None:
    with local() as mine:

        async def main() -> None:
            async with MqttBus(mine.url) as bus:
                inbox = await bus.subscribe(TOPIC)
                mine.kill()
                await until(lambda: bus._client is None)
                for n in range(WINDOW):
                    await bus.publish(TOPIC, envelope(n))
                one_more = asyncio.create_task(bus.publish(TOPIC, envelope(WINDOW)))
                await asyncio.sleep(0.1)
                assert not one_more.done()
                await asyncio.to_thread(mine.start)
                await one_more
                assert await take(inbox, WINDOW + 1) == list(range(WINDOW + 1))

        play(main)


@pytest.mark.parametrize("name", BROKERS)
def test_what_is_no_envelope_is_refused_and_counted(name: str) -> None:
    async def main() -> None:
        seen: list[bytes] = []
        pattern = topics.to("junk", name, "+")
        async with MqttBus(broker(name).url) as bus, MqttBus(broker(name).url) as other:
            inbox = await bus.subscribe(pattern)
            await other.watch(pattern, lambda topic, raw: seen.append(raw))
            for raw in (b"", b"\xff\x00", b"[]", b'{"v":2}', json.dumps({"episode": "0"}).encode()):
                await bus._put(topics.to("junk", name, "a"), raw, retain=False)
            await bus.publish(topics.to("junk", name, "a"), envelope(7))
            assert await take(inbox, 1) == [7]
            assert dict(bus.refused) == {"malformed": 5}
            await until(lambda: len(seen) == 6)

    play(main)


@pytest.mark.parametrize("name", BROKERS)
def test_too_large_a_payload_is_refused_at_either_end(name: str) -> None:
    async def main() -> None:
        topic = topics.to("large", name, "a")
        async with MqttBus(broker(name).url) as bus:
            inbox = await bus.subscribe(topic)
            with pytest.raises(ProtocolError, match="limit"):
                await bus.publish(topic, envelope(0, "x" * MAX_BYTES))
            await bus._put(topic, b"x" * (MAX_BYTES + 1), retain=False)
            await bus.publish(topic, envelope(1))
            assert await take(inbox, 1) == [1]
            assert dict(bus.refused) == {"oversize": 1}

    play(main)


def refusal(url: str) -> str:
    async def main() -> None:
        async with connect(url):
            pass

    with pytest.raises(ProtocolError) as refused:
        clock.run(main(), "wall")
    return str(refused.value)


def test_no_broker() -> None:
    port = free_port()
    assert refusal(f"mqtt://127.0.0.1:{port}") == (
        f"no broker answers at mqtt://127.0.0.1:{port} (Connection refused): start one with `marl broker`, "
        "or check host and port"
    )
    assert "no broker answers at mqtt://nowhere.invalid:1883" in refusal("mqtt://nowhere.invalid")


@pytest.mark.parametrize("url", ["mqtt://", "mqtt://host:x", "mqtt://host:99999", "mqtts://host?ca=x", "mqtts:host"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ProtocolError, match="is not the address of a broker: use mqtt://HOST:PORT"):
        connect(url)


def test_an_address_taken_apart() -> None:
    assert parse("mqtts://an%40na:se%2Fcret@example.org?cafile=/x.pem") == (
        *("example.org", 8883, "an@na", "se/cret", True, "/x.pem"),
    )
    assert parse("mqtts://anna:secret@example.org").shown == "mqtts://example.org:8883"
    assert parse("mqtt://localhost").port == 1883


def test_virtual_time_is_refused() -> None:
    async def main() -> None:
        async with MqttBus("mqtt://127.0.0.1"):
            pass

    with pytest.raises(ProtocolError, match="needs real time"):
        clock.run(main())


def test_a_broker_that_cannot_start_says_why() -> None:
    other = local(broker("amqtt").port)
    with pytest.raises(ProtocolError, match=r"127.0.0.1:\d+ is taken: choose another port"):
        other.start()
    other = Amqtt(address="127.0.0.1")
    other.command = lambda folder: [sys.executable, "-c", "raise SystemExit('out of ink')"]  # type: ignore[method-assign]
    with pytest.raises(ProtocolError, match=r"amqtt did not open 127.0.0.1:\d+ \(out of ink\)"):
        other.start()
    assert other.process is None


@needs_mosquitto
def test_a_wrong_password(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run([shutil.which("mosquitto_passwd") or "", "-c", "-b", passwords, "anna", "right"], check=True)
    with Mosquitto(access=Access(passwords=passwords)) as guarded:
        at = f"127.0.0.1:{guarded.port}"
        assert refusal(f"mqtt://anna:wrong@{at}") == (
            f"the broker at mqtt://{at} refuses the user 'anna': check user and password in "
            "mqtt://USER:PASSWORD@HOST:PORT"
        )
        assert "refuses a user without a name" in refusal(f"mqtt://{at}")

        async def main() -> None:
            async with connect(f"mqtt://anna:right@{at}"):
                pass

        play(main)


def certificates(folder: Path) -> Access:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("making certificates needs openssl")
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([openssl, *words, *names, *files], check=True, capture_output=True)
    return Access(certificate=folder / "cert.pem", key=folder / "key.pem")


@needs_mosquitto
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket")  # paho leaves it open where TLS failed
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket")
def test_certificates(tmp_path: Path) -> None:
    access = certificates(tmp_path)
    with Mosquitto(access=access) as guarded:
        assert guarded.url.startswith("mqtts://")
        said = refusal(guarded.url)
        assert said.startswith(f"the certificate of {guarded.url} is not trusted (self")
        assert said.endswith("name its authority with ?cafile=PATH")
        assert "no certificate authority can be read" in refusal(f"{guarded.url}?cafile={tmp_path}/none.pem")

        async def main() -> None:
            async with connect(f"{guarded.url}?cafile={access.certificate}") as bus:
                inbox = await bus.subscribe(TOPIC)
                await bus.publish(TOPIC, envelope(5))
                assert await take(inbox, 1) == [5]

        play(main)
        assert "no broker answers over TLS at mqtts" in refusal(f"mqtts://127.0.0.1:{broker('mosquitto').port}")
