"""Options of HTTP clients: the secret key of a server, and the proxy on the way to it.

Both come from environment variables. No error text holds a key, or the password of a proxy.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from marl.errors import UserError

QUOTES: Final = "\"'`\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb"
PROXY_SCHEMES: Final = ("http", "https", "socks5", "socks5h")


def read_key(variable: str, where: str) -> str:
    """Return the key in an environment variable, without white space and quotes around it; empty if it is not set.

    Raises UserError, which names `where` and not the key, for one that no HTTP header can hold.
    """
    key = os.environ.get(variable, "").strip().strip(QUOTES).strip()
    if not all("!" <= character <= "~" for character in key):
        raise UserError(
            f"{where}: the key in the environment variable {variable} holds white space or a character that is not "
            "ASCII: set the variable to the key alone"
        )
    return key


def hide(text: str, key: str) -> str:
    """Return a text without a key that stands in it."""
    return text.replace(key, "***") if key else text


def split_address(address: str, kind: str) -> SplitResult:
    """Return the parts of an http address; raises ValueError, without what may be secret, for one that is wrong."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        reason = "its port is not a number from 1 to 65535" if "ort" in str(error) else "it cannot be read"
        raise ValueError(f"{kind}: {reason}") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"{kind} must not hold a password or a user: put the key into an environment variable")
    if port == 0:
        raise ValueError(f"{kind}: its port is not a number from 1 to 65535")
    if parts.hostname and not all(c >= "!" and c.isprintable() for c in parts.netloc + parts.path):
        raise ValueError(f"{kind}: it holds white space or a character that cannot be printed")
    return parts


def client_options(address: str, where: str) -> dict[str, Any]:
    """Return the options of an `httpx2.AsyncClient` for one server; raises UserError, which names `where`.

    This machine needs no proxy. For other hosts the variables HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY hold.
    """
    import httpx2

    options: dict[str, Any] = {"trust_env": False}
    if address.startswith("https"):
        options["verify"] = httpx2.create_ssl_context(trust_env=True)
    variable, proxy = proxy_of(address)
    if not proxy:
        return options
    scheme, _, rest = proxy.rpartition("://")
    scheme = {"": "http", "socks": "socks5"}.get(scheme.lower(), scheme.lower())
    if scheme not in PROXY_SCHEMES:
        raise UserError(
            f"{where}: the proxy in {variable} is of the kind {scheme}://, and only {', '.join(PROXY_SCHEMES)} are "
            "supported: set another one, or name the host in NO_PROXY"
        )
    if scheme.startswith("socks") and find_spec("socksio") is None:
        raise UserError(
            f"{where}: the SOCKS proxy in {variable} needs the package socksio: pip install 'httpx2[socks]', or "
            "name the host in NO_PROXY"
        )
    try:
        if urlsplit(f"{scheme}://{rest}").port == 0:
            raise ValueError
        return options | {"proxy": httpx2.Proxy(f"{scheme}://{rest}")}
    except (httpx2.InvalidURL, ValueError):
        raise UserError(f"{where}: the address of the proxy in {variable} cannot be read") from None


def proxy_of(address: str) -> tuple[str, str]:
    """Return the environment variable that sets the proxy for an address, and the proxy; empty for none."""
    parts = urlsplit(address)
    host = (parts.hostname or "").lower()
    proxies = getproxies()
    scheme = next((name for name in (parts.scheme, "all") if proxies.get(name)), "")
    if not scheme or is_loopback(host) or _bypassed(host, parts.port, proxies):
        return "", ""
    lower = f"{scheme}_proxy"
    return lower if os.environ.get(lower) else lower.upper(), proxies[scheme].strip()


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _bypassed(host: str, port: int | None, proxies: dict[str, str]) -> bool:
    """Whether NO_PROXY names a host: by its name, a domain, an address, or a network of addresses."""
    if proxy_bypass(f"{host}:{port}" if port else host, proxies):
        return True
    for entry in proxies.get("no", "").replace(",", " ").split():
        entry = entry.lower().rpartition("://")[2]
        if entry == "*" or (entry.startswith("*.") and host.endswith(entry[1:])):
            return True
        try:
            if ip_address(host) in ip_network(entry.strip("[]"), strict=False):
                return True
        except ValueError:
            continue
    return False
