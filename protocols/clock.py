"""Event loops with an idle hook, in virtual time or on the wall clock.

A loop is *idle* when nothing is runnable and it is about to wait. Its idle hooks (`on_idle`) then do work that is best
done for all waiting tasks at once, such as a batch of inference. In virtual time the loop does not wait: it sets its
clock to the next timer, so `asyncio.sleep` takes no real time and a simulation is deterministic.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import Context, copy_context
from itertools import count
from typing import Any, Literal, TypeVar, TypeVarTuple, Unpack, get_args

from protocols.errors import ProtocolError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
ClockName = Literal["virtual", "wall"]
IdleHook = Callable[[], bool]


class DeadlockError(RuntimeError):
    """Virtual time cannot advance: every task waits and no timer is set."""


class _IdleSelector(selectors.DefaultSelector):
    """A selector that runs idle hooks before it waits, and in virtual time advances the clock instead."""

    def __init__(self, *, virtual: bool) -> None:
        super().__init__()
        self.virtual = virtual
        self.now = 0.0
        self.held = 0
        self.hooks: list[IdleHook] = []
        self.settling: list[asyncio.Future[None]] = []

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            # Nothing to poll for in virtual time; signals arrive through the wake-up descriptor when idle.
            return [] if self.virtual else super().select(0)
        worked = False
        for hook in tuple(self.hooks):
            worked |= hook()
        if worked:
            return super().select(0)
        if not self.virtual and not self.settling:
            return super().select(timeout)
        if self.held:
            return super().select(None)
        if events := super().select(0):
            return events
        if self.settling:
            while self.settling:
                future = self.settling.pop()
                if not future.done():
                    future.set_result(None)
            return []
        if timeout is None:
            raise DeadlockError("every agent waits and nothing is scheduled: a reply, a deadline or an end is missing")
        self.now = round(self.now + timeout, 9)  # whole nanoseconds, so that equal times compare equal
        return []


class _Moment(float):
    """The time of a timer; among equal times, timers compare in the order in which they were set.

    asyncio's heap has no order among equal times: which timer comes first would depend on the other timers, so on how
    many episodes share the loop.
    """

    __slots__ = ("order",)
    order: int

    def __lt__(self, other: float) -> bool:
        if isinstance(other, _Moment) and float.__eq__(self, other):
            return self.order < other.order
        return float.__lt__(self, other)

    def __ge__(self, other: float) -> bool:
        # asyncio waits while a timer is >= now + 1 ns. After 97 days that rounds to now: it would wait for ever.
        return float.__gt__(self, other)


class EpisodeLoop(asyncio.SelectorEventLoop):
    """The event loop on which episodes run; `time()` is the episode clock in seconds."""

    def __init__(self, clock: ClockName = "virtual") -> None:
        self._idle = _IdleSelector(virtual=clock == "virtual")
        self._set = count()
        self.clock: ClockName = clock
        super().__init__(self._idle)

    def time(self) -> float:
        """Return the clock in seconds; virtual time starts at 0."""
        return self._idle.now if self._idle.virtual else super().time()

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call back at `when`; in virtual time, timers of the same nanosecond run in the order they were set."""
        if self._idle.virtual:
            when = _Moment(round(when, 9))
            when.order = next(self._set)
        return super().call_at(when, callback, *args, context=context)

    def on_idle(self, hook: IdleHook) -> None:
        """Call `hook` whenever the loop is idle; it returns whether it made something runnable."""
        self._idle.hooks.append(hook)

    async def settled(self) -> None:
        """Wait until nothing is runnable at this instant, and no idle hook has work."""
        future = self.create_future()
        self._idle.settling.append(future)
        await future

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Pause virtual time; a real event, such as a result from another thread, wakes the loop."""
        self._idle.held += 1
        try:
            yield
        finally:
            self._idle.held -= 1

    def off_idle(self, hook: IdleHook) -> None:
        """Stop calling `hook`."""
        self._idle.hooks.remove(hook)


def run(main: Coroutine[Any, Any, T], clock: ClockName = "virtual") -> T:
    """Run a coroutine to its end on a fresh loop with the given clock (ProtocolError for an unknown name).

    Where this thread runs a loop already, as a notebook does, the fresh loop runs in a thread of its own; an
    interrupt then cancels the coroutine and waits for it.
    """
    if clock not in get_args(ClockName):
        main.close()
        raise ProtocolError(f"no clock {clock!r}: use virtual or wall")
    if not in_event_loop():
        return _run_here(main, clock)
    loops: list[EpisodeLoop] = []
    with ThreadPoolExecutor(1) as thread:
        try:
            return thread.submit(copy_context().run, _run_here, main, clock, loops.append).result()
        except BaseException:
            for loop in loops:
                with suppress(RuntimeError):  # it has ended
                    loop.call_soon_threadsafe(_cancel_all, loop)
            raise


def in_event_loop() -> bool:
    """Return whether this thread runs an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _run_here(
    main: Coroutine[Any, Any, T], clock: ClockName, begun: Callable[[EpisodeLoop], None] = lambda _: None
) -> T:
    results: list[T] = []

    async def keep_result() -> None:
        begun(episode_loop())
        results.append(await main)

    # The result is not the task's: asyncio formats the task at the end, and would format thousands of episodes.
    with asyncio.Runner(loop_factory=lambda: EpisodeLoop(clock)) as runner:
        runner.run(keep_result())
    return results[0]


def _cancel_all(loop: EpisodeLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()


def episode_loop() -> EpisodeLoop:
    """Return the running loop; raises ProtocolError if it is not an EpisodeLoop."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, EpisodeLoop):
        raise ProtocolError("this needs the loop of protocols.clock: start it with protocols.clock.run(...)")
    return loop
