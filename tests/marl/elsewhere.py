"""Agents elsewhere: seats of a host, on a connection and a thread of their own, with a clock of their own."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from marl.policy import Policy
from marl.seat import Seat
from protocols import clock
from protocols.mqtt import MqttBus


@contextmanager
def elsewhere(url: str, run: str, policies: Mapping[str, Policy], **options: Any) -> Iterator[list[Seat]]:
    """Let policies take seats of a run until the run is over; what they raise is raised here."""
    seats: list[Seat] = []
    failures: list[BaseException] = []

    async def sit() -> None:
        async with MqttBus(url) as bus, asyncio.TaskGroup() as group:
            agent = secrets.token_hex(4)
            for name, policy in policies.items():
                seats.append(Seat(name, policy, bus, run, agent, **options))
                group.create_task(seats[-1].sit())

    def live() -> None:
        try:
            clock.run(sit(), "wall")
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=live, daemon=True)
    thread.start()
    try:
        yield seats
    finally:
        thread.join(20)
    assert not thread.is_alive(), "the seats did not hear that the run is over"
    if failures:
        raise failures[0]
