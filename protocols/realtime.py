"""Real time beside virtual time: coroutines that talk to the real world run on a loop of their own, on a thread.

While an episode waits for one, its virtual time stands still; so a deadline in real seconds works under both clocks.
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
    """Return the loop that lives as long as the program, and runs in real time."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="outside", daemon=True).start()
    return loop


async def outside(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in real time and return what it returns, holding virtual time meanwhile."""
    future = asyncio.run_coroutine_threadsafe(work, real_loop())
    with episode_loop().holding():
        return await asyncio.wrap_future(future)
