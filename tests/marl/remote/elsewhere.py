"""Agents elsewhere: seats of a host, on a connection and a thread of their own, with a clock of their own."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from marl.policy.base import Policy
from marl.remote.host import Host
from marl.remote.rejections import Reason
from marl.remote.seat_client import Renew, sit
from protocols import clock


def refused(host: Host) -> dict[Reason, int]:
    """What a host refused, without replies that came again because the machine, or amqtt, was slow."""
    echoes = (Reason.REPLAYED, Reason.EPISODE)
    return {reason: count for reason, count in host.rejections.counts.items() if reason not in echoes}


@contextmanager
def elsewhere(
    url: str, run: str, policies: Mapping[str, Policy], token: str = "", renew: Renew | None = None
) -> Iterator[list[str]]:
    """Let policies take seats of a run until the run is over; yields what they tell, raises what they raise."""
    notices: list[str] = []
    failures: list[BaseException] = []

    async def main() -> None:
        tokens = dict.fromkeys(policies, token) if token else {}
        await sit(url, run, secrets.token_hex(4), policies, tokens=tokens, notice=notices.append, renew=renew)

    def live() -> None:
        try:
            clock.run(main(), "wall")
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=live, daemon=True)
    thread.start()
    try:
        yield notices
    finally:
        thread.join(20)
    assert not thread.is_alive(), "the seats did not hear that the run is over"
    if failures:
        raise failures[0]
