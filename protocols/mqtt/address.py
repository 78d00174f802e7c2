"""Where a broker is, and why it cannot be reached, in a sentence."""

from __future__ import annotations

import os
import ssl
from typing import Final, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from protocols.errors import ProtocolError

PASSWORD: Final = "SABIR_MQTT_PASSWORD"
"""Environment variable with the password of a URL that has a user and no password: others see command lines."""


class Address(NamedTuple):
    """The parts of mqtt://user:password@host:port?cafile=PATH."""

    host: str
    port: int
    user: str | None
    password: str | None
    tls: bool
    cafile: str | None

    @property
    def shown(self) -> str:
        """The URL without the password."""
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"


def parse(url: str) -> Address:
    """Take a URL apart; raises ProtocolError."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    query = parse_qs(parts.query)
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or port == -1 or set(query) - {"cafile"}:
        raise ProtocolError(
            f"{parts.scheme}://{parts.hostname or ''} is not the address of a broker: "
            "use mqtt://HOST:PORT or mqtts://USER:PASSWORD@HOST:PORT?cafile=PATH"
        )
    tls = parts.scheme == "mqtts"
    user = None if parts.username is None else unquote(parts.username)
    password = os.environ.get(PASSWORD) if parts.password is None else unquote(parts.password)
    if user is None:
        password = None
    cafile = query["cafile"][0] if query else None
    return Address(parts.hostname, port or (8883 if tls else 1883), user, password, tls, cafile)


def trust(address: Address) -> ssl.SSLContext | None:
    """Return what TLS needs; raises ProtocolError."""
    if not address.tls:
        return None
    try:
        return ssl.create_default_context(cafile=address.cafile and os.path.expanduser(address.cafile))
    except OSError as error:
        why = getattr(error, "reason", None) or error.strerror or str(error)
        raise ProtocolError(f"{address.cafile}: no certificate authority can be read from it ({why})") from None


def unreachable(address: Address, error: Exception, code: int) -> str:
    """Say why a broker could not be reached, and what to do; `code` is its reason code, 0 if it gave none."""
    if isinstance(error, ProtocolError):
        return str(error)
    if code in (134, 135):  # bad user name or password; not authorized
        who = "a user without a name" if address.user is None else f"the user {address.user!r}"
        return f"the broker at {address.shown} refuses {who}: check user and password in mqtt://USER:PASSWORD@HOST:PORT"
    reason = str(error)
    if "CERTIFICATE" in reason or "certificate" in reason:
        return untrusted(address, reason.partition("certificate verify failed: ")[2].partition(" (_ssl")[0] or reason)
    reason = reason.partition("] ")[2] or reason
    how = "answers over TLS" if address.tls else "answers"
    hint = "start one with `marl broker`, or check host and port"
    if not address.tls and "timed out" in reason:
        hint += "; over TLS it is mqtts://"
    return f"no broker {how} at {address.shown} ({reason}): {hint}"


def untrusted(address: Address, why: str) -> str:
    """Say why TLS does not trust a broker's certificate, in OpenSSL's words, and what cures it."""
    if "mismatch" in why:
        return f"the certificate of {address.shown} is not for {address.host}: connect to the name it is for"
    if "expired" in why:
        return f"the certificate of {address.shown} has expired: renew it on the broker, or set this machine's clock"
    if "not yet valid" in why:
        return f"the certificate of {address.shown} is not valid yet: set this machine's clock, or wait until it is"
    if "issuer" in why or "self" in why or "verify the first" in why:
        fix = f"its authority is not in {address.cafile}" if address.cafile else "name its authority with ?cafile=PATH"
        return f"the certificate of {address.shown} is not trusted ({why}): {fix}"
    return f"the certificate of {address.shown} is not accepted ({why}): give the broker another one"
