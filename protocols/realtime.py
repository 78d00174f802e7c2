"""Run coroutines in real time while virtual time is paused.

Coroutines that use the network or processes run on an event loop of their own, in a thread. While an episode waits for
one, its virtual time is paused, so deadlines in real seconds work under both clocks.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from functools import cache
from typing import Any, TypeVar

from protocols.clock import episode_loop

T = TypeVar("T")


@cache
def real_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop in real time, which runs until the program ends."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="outside", daemon=True).start()
    return loop


async def outside(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in real time and return its result; virtual time is paused meanwhile."""
    future = asyncio.run_coroutine_threadsafe(work, real_loop())
    with episode_loop().holding():
        return await asyncio.wrap_future(future)
