"""Who may do what at a mosquitto broker: a seat publishes only as itself, and reads only what is meant for it."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from protocols import topics
from protocols.envelope import REFEREE
from protocols.mqtt.broker import Access
from protocols.topics import LOBBY, ROOT

HOST: Final = "host"
WATCH: Final = "watch"
_ROUNDS: Final = 20_000  # of PBKDF2, for every connection


def acl(run: str, seats: Sequence[str]) -> str:
    """Return the lines of mosquitto's `acl_file`: the host has all of its run, `watch` may read it, a seat its own."""
    everything = f"{ROOT}/{topics.name(run)}/#"
    lines = [f"user {HOST}", f"topic readwrite {everything}", "", f"user {WATCH}", f"topic read {everything}"]
    for seat in map(topics.name, seats):
        lines += [
            "",
            f"user {seat}",
            f"topic write {topics.sent_by(run, '+', seat)}",
            f"topic read {topics.to(run, '+', seat)}",
            f"topic read {topics.sent_by(run, LOBBY, REFEREE)}",
        ]
    return "\n".join(lines) + "\n"


def password_line(user: str, password: str) -> str:
    """Return a line of mosquitto's `password_file` (`$7$`: PBKDF2 with SHA-512), as mosquitto_passwd writes it."""
    salt = secrets.token_bytes(12)
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ROUNDS, 64)
    return f"{user}:$7${_ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}\n"


def write(folder: Path, run: str, seats: Sequence[str]) -> tuple[Access, dict[str, str]]:
    """Write both files into a folder, with new passwords; return them, and user -> password."""
    folder.mkdir(parents=True, exist_ok=True)
    passwords = {user: secrets.token_urlsafe(12) for user in (HOST, WATCH, *seats)}
    access = Access(folder / "passwords", folder / "acl")
    for path, text in (
        (folder / "passwords", "".join(password_line(*item) for item in passwords.items())),
        (folder / "acl", acl(run, seats)),
    ):
        path.touch(mode=0o600)
        path.chmod(0o600)
        path.write_text(text)
    return access, passwords
