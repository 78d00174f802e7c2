"""`marl broker`: start a broker, or check one."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from marl.cli.console import answer, note
from marl.errors import UserError


def broker(
    url: Annotated[
        str | None,
        typer.Argument(metavar="URL", help="Check this broker instead of starting one.", show_default=False),
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to open.")] = 1883,
    address: Annotated[str, typer.Option(help="The address to open it at; 0.0.0.0 for other machines.")] = "127.0.0.1",
    acl: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Admit only the host, each --seat and a watcher, by password; the files go to FOLDER.",
        ),
    ] = None,
    run: Annotated[str, typer.Option(help="Name of the run that --acl admits.")] = "game",
    seat: Annotated[
        list[str] | None, typer.Option(metavar="SEAT", help="A seat that --acl admits (may be repeated).")
    ] = None,
    cert: Annotated[Path | None, typer.Option(metavar="FILE", help="The server's certificate, for mqtts://.")] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="The key of --cert.")] = None,
) -> None:
    """Start a broker on this machine until Ctrl-C (mosquitto if installed, else amqtt), or check the one at URL.

    With --acl, passwords and an access list in mosquitto's formats are written into FOLDER: a seat can publish only as
    itself and read only what is meant for it. The files serve any mosquitto.
    """
    if url is not None:
        _check(url)
        return
    from dataclasses import replace

    from protocols.mqtt import access as access_lists
    from protocols.mqtt.broker import Access, local

    if (cert is None) != (key is None):
        raise UserError("--cert and --key belong together: give both")
    if cert is not None and key is not None:
        _check_pair(cert, key)
    access = Access()
    users: dict[str, str] = {}
    if acl is not None:
        if not seat:
            raise UserError("--acl needs the seats to admit: --seat sender_0 --seat receiver_0")
        access, users = access_lists.write(acl, run, seat)
    with local(port, address, replace(access, certificate=cert, key=key)) as started:
        answer(f"{started.name} at {started.url}")
        scheme, _, rest = started.url.partition("://")
        for user, password in users.items():
            answer(f"{scheme}://{user}:{password}@{rest}")
        note("Ctrl-C ends it")
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # or the broker would be left behind
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


def _check_pair(cert: Path, key: Path) -> None:
    """Check that a certificate and a key can be read and belong together; raises UserError."""
    import ssl

    for path in (cert, key):
        if not path.is_file():
            raise UserError(f"{path} does not exist: give the certificate and the key as PEM files")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=lambda: b"")
    except OSError as error:
        why = getattr(error, "reason", None) or error.strerror or "not PEM, or locked with a password"
        raise UserError(f"{cert} and {key} are not a certificate and its key ({why}): give both as PEM files") from None


def _check(url: str) -> None:
    from protocols import clock
    from protocols.mqtt.probe import probe

    findings = clock.run(probe(url), "wall")
    version = {5: "MQTT 5", 4: "MQTT 3.1.1"}[findings.version]
    answer(f"{findings.address}: {version}, round trip {1000 * findings.round_trip:.1f} ms at QoS 1")
    if findings.round_trip > 0.04:
        note("that is slow for a broker nearby: mosquitto wants `set_tcp_nodelay true`")
