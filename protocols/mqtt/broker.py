"""Start a private MQTT broker on this machine: mosquitto if it is installed, else amqtt.

A broker is a child process with its own configuration and port; brokers that already run are not touched.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from errno import EADDRINUSE
from getpass import getuser
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from protocols.errors import ProtocolError

WAIT: Final = 10.0  # seconds a broker may take to open its port
_PATHS: Final = ("/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/opt/homebrew/sbin/mosquitto")

_SERVE: Final = """
import asyncio, logging, sys
from amqtt.broker import Broker

async def serve():
    anyone = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    listener = {"type": "tcp", "bind": sys.argv[1]}
    await Broker({"listeners": {"default": listener}, "plugins": anyone}).start()
    await asyncio.get_running_loop().create_future()

logging.disable()
asyncio.run(serve())
"""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may connect: files in mosquitto's formats. Without `passwords` everyone may."""

    passwords: Path | None = None
    acl: Path | None = None
    certificate: Path | None = None
    """With `key`: the server's certificate (PEM); clients then connect with mqtts://."""
    key: Path | None = None


class Broker(ABC):
    """A broker as a child process between `start` and `stop`; as a context manager it does both.

    `port` and `url` stay the same over restarts. A broker persists nothing: it loses all messages when it stops.
    """

    name: str

    def __init__(self, port: int = 0, address: str = "127.0.0.1", access: Access | None = None) -> None:
        self.address = address
        self.access = access or Access()
        self.port = port or free_port(address)
        self.process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None

    @property
    def url(self) -> str:
        """URL of the broker, for `protocols.connect`."""
        return f"{'mqtts' if self.access.certificate else 'mqtt'}://{self.address}:{self.port}"

    @abstractmethod
    def command(self, folder: Path) -> list[str]:
        """Return the command line; `folder` is the broker's own until it stops."""

    def start(self) -> None:
        """Start the process and wait until its port is open; raises ProtocolError with the reason if it does not."""
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.address, self.port))
            except OSError as error:
                taken = "is taken" if error.errno == EADDRINUSE else f"cannot be opened ({error.strerror})"
                raise ProtocolError(f"{self.address}:{self.port} {taken}: choose another port") from None
        self._folder = Path(tempfile.mkdtemp(prefix="sabir-broker-"))
        log = self._folder / "log"
        with log.open("wb") as file:
            self.process = subprocess.Popen(self.command(self._folder), stdout=file, stderr=file)
        until = time.monotonic() + WAIT
        while self.process.poll() is None and time.monotonic() < until:
            try:
                with socket.create_connection((self.address, self.port), timeout=1):
                    return
            except OSError:
                time.sleep(0.02)
        reason = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        self.stop()
        raise ProtocolError(
            f"{self.name} did not open {self.address}:{self.port} ({reason[-1] if reason else 'no reason given'}): "
            "choose another port"
        )

    def stop(self) -> None:
        """Terminate the process and remove its folder; harmless when it does not run."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def kill(self) -> None:
        """End the process as a power cut would (SIGKILL)."""
        if self.process is not None:
            self.process.kill()
        self.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Mosquitto(Broker):
    """Eclipse mosquitto: MQTT 5, passwords, access lists, TLS."""

    name = "mosquitto"

    def command(self, folder: Path) -> list[str]:
        """Write the configuration and name it."""
        program = mosquitto()
        if program is None:
            raise ProtocolError("mosquitto is not installed: apt-get install mosquitto")
        path = folder / "mosquitto.conf"
        path.write_text(self.configuration())
        return [program, "-c", str(path)]

    def configuration(self) -> str:
        """Return the lines of mosquitto.conf."""
        access = self.access
        lines = [
            f"listener {self.port} {self.address}",
            f"allow_anonymous {'false' if access.passwords else 'true'}",
            f"user {getuser()}",  # started as root it would become someone who may not read the files below
            "persistence false",
            "set_tcp_nodelay true",  # or a round trip may wait for TCP's delayed acknowledgement
            "max_inflight_messages 0",  # a lost acknowledgement must not close the window
            "max_queued_messages 10000",
        ]
        files = {
            "password_file": access.passwords,
            "acl_file": access.acl,
            "certfile": access.certificate,
            "keyfile": access.key,
        }
        lines += [f"{key} {path.resolve()}" for key, path in files.items() if path is not None]
        return "\n".join(lines) + "\n"


class Amqtt(Broker):
    """The amqtt broker: pure Python, MQTT 3.1.1 only; everyone may connect and do everything."""

    name = "amqtt"

    def __init__(self, port: int = 0, address: str = "127.0.0.1", access: Access | None = None) -> None:
        super().__init__(port, address, access)
        if self.access != Access():
            raise ProtocolError("the amqtt broker has no passwords, access lists or TLS here: install mosquitto")

    def command(self, folder: Path) -> list[str]:
        """Run this file; raises ProtocolError where amqtt is not installed."""
        if find_spec("amqtt") is None:
            raise ProtocolError("no broker is installed: apt-get install mosquitto, or pip install amqtt")
        return [sys.executable, "-c", _SERVE, f"{self.address}:{self.port}"]


def mosquitto() -> str | None:
    """Return the path of the mosquitto program, None if it is not installed."""
    return shutil.which("mosquitto") or next((path for path in _PATHS if Path(path).is_file()), None)


def local(port: int = 0, address: str = "127.0.0.1", access: Access | None = None) -> Broker:
    """Return the best broker that can run here, not yet started."""
    return (Mosquitto if mosquitto() else Amqtt)(port, address, access)


def free_port(address: str = "127.0.0.1") -> int:
    """Return a port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port
