from __future__ import annotations

import asyncio
import gc
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.clock import ClockName, DeadlockError, EpisodeLoop, episode_loop, run
from protocols.errors import ProtocolError

CLOCKS: tuple[ClockName, ...] = get_args(ClockName)
YEAR = 365.0 * 24 * 3600


async def sleep_and_tell(delays: list[float], told: list[tuple[int, float]]) -> None:
    async def sleep(i: int, delay: float) -> None:
        await asyncio.sleep(delay)
        told.append((i, episode_loop().time()))

    async with asyncio.TaskGroup() as group:
        for i, delay in enumerate(delays):
            group.create_task(sleep(i, delay))


def test_virtual_sleeps_cost_nothing_real() -> None:
    async def main() -> float:
        await asyncio.sleep(3 * YEAR)  # this test would not end
        return episode_loop().time()

    assert run(main()) == 3 * YEAR


@given(st.lists(st.floats(0, 100), max_size=20))
def test_virtual_sleeps_end_in_order_at_their_time(delays: list[float]) -> None:
    events: list[tuple[int, float]] = []
    run(sleep_and_tell(delays, events))
    times = dict(events)
    assert [times[i] for i in range(len(delays))] == pytest.approx(delays, abs=2e-9)
    assert [time for _, time in events] == sorted(time for _, time in events)


@pytest.mark.parametrize("company", [0, 1, 2, 3, 50])
def test_equal_times_keep_the_order_of_setting_in_any_company(company: int) -> None:
    """What else runs on the loop must not change an episode."""

    async def main() -> list[int]:
        order: list[int] = []

        async def speak(i: int) -> None:
            await asyncio.sleep(0.1)
            await asyncio.sleep(0.2 if i % 2 else 0.1)
            if i % 2 == 0:
                await asyncio.sleep(0.1)  # 0.1 + 0.1 + 0.1 is not 0.1 + 0.2 in floating point; here it is
            order.append(i)

        async with asyncio.TaskGroup() as group:
            for i in range(7):
                group.create_task(speak(i))
                for j in range(company):
                    group.create_task(asyncio.sleep(0.1 * (j % 4)))
        assert episode_loop().time() == 0.3
        return order

    assert run(main()) == [1, 3, 5, 0, 2, 4, 6]


def test_the_same_program_runs_in_the_same_order_each_time() -> None:
    def play() -> list[tuple[int, float]]:
        events: list[tuple[int, float]] = []
        run(sleep_and_tell([(i * 37 % 11) / 10 for i in range(60)], events))
        return events

    assert play() == play() == play()


def test_idle_comes_before_time_moves_and_only_when_nothing_runs() -> None:
    async def main() -> list[tuple[str, float]]:
        loop = episode_loop()
        events: list[tuple[str, float]] = []
        running = 0

        def idle() -> bool:
            assert running == 0
            events.append(("idle", loop.time()))
            return False

        async def work(steps: int, delay: float) -> None:
            nonlocal running
            running += 1
            for _ in range(steps):
                await asyncio.sleep(0)
            running -= 1
            await asyncio.sleep(delay)
            events.append(("woke", loop.time()))

        loop.on_idle(idle)
        async with asyncio.TaskGroup() as group:
            for steps, delay in ((0, 1.0), (5, 2.0), (50, 1.0)):
                group.create_task(work(steps, delay))
        loop.off_idle(idle)
        await asyncio.sleep(1.0)
        return events

    assert run(main()) == [("idle", 0.0), ("woke", 1.0), ("woke", 1.0), ("idle", 1.0), ("woke", 2.0)]


@pytest.mark.parametrize("clock", CLOCKS)
def test_a_hook_that_made_work_keeps_time_where_it_is(clock: ClockName) -> None:
    """This is how a policy server answers all who wait in one batch."""

    async def main() -> tuple[list[int], set[float]]:
        loop = episode_loop()
        waiting: list[asyncio.Future[float]] = []
        batches: list[int] = []

        def answer() -> bool:
            for future in waiting:
                future.set_result(loop.time())
            batches.extend([len(waiting)] if waiting else [])
            made_work = bool(waiting)
            waiting.clear()
            return made_work

        async def ask(i: int) -> float:
            for _ in range(i):
                await asyncio.sleep(0)
            future: asyncio.Future[float] = loop.create_future()
            waiting.append(future)
            return await future

        loop.on_idle(answer)
        timer = loop.call_later(1000.0, lambda: None)
        answers = {time for _ in range(3) for time in await asyncio.gather(*map(ask, range(8)))}
        timer.cancel()
        return batches, answers

    batches, answers = run(main(), clock)
    assert batches == [8, 8, 8]
    if clock == "virtual":
        assert answers == {0.0}


def test_deadlock_is_an_error_with_its_cause() -> None:
    cleaned: list[str] = []

    async def wait_for_nobody() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cleaned.append("up")

    async def main() -> None:
        await asyncio.sleep(1.0)
        await asyncio.gather(wait_for_nobody(), wait_for_nobody())

    with pytest.raises(DeadlockError, match="nothing is scheduled: a reply, a deadline or an end is missing"):
        run(main())
    gc.collect()  # a task left pending would complain now, and complaints are errors here
    assert cleaned == ["up", "up"]


def test_an_error_in_a_hook_ends_the_run() -> None:
    async def main() -> None:
        def broken() -> bool:
            loop.off_idle(broken)
            raise ZeroDivisionError

        loop = episode_loop()
        loop.on_idle(broken)
        await asyncio.sleep(1.0)

    with pytest.raises(ZeroDivisionError):
        run(main())
    gc.collect()


def test_the_wall_clock_really_waits() -> None:
    async def main() -> tuple[list[int], float]:
        loop = episode_loop()
        events: list[tuple[int, float]] = []
        started = loop.time()
        await sleep_and_tell([0.03, 0.01], events)
        return [i for i, _ in events], loop.time() - started

    order, seconds = run(main(), "wall")
    assert order == [1, 0]
    assert seconds >= 0.03 - 1e-3  # never less; how much more is the machine's affair


def test_timeouts_in_virtual_time() -> None:
    async def main() -> list[float]:
        loop = episode_loop()
        times = []
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.create_future(), 5.0)
        times.append(loop.time())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(YEAR):
                await loop.create_future()
        times.append(loop.time())
        assert await asyncio.wait_for(asyncio.sleep(1.0, "in time"), 2.0) == "in time"
        times.append(loop.time())
        return times

    assert run(main()) == [5.0, YEAR + 5.0, YEAR + 6.0]


def test_a_cancelled_timer_does_not_move_time() -> None:
    async def main() -> None:
        loop = episode_loop()
        loop.call_later(60.0, lambda: None).cancel()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.create_future(), 1.0)
        assert loop.time() == 1.0

    run(main())


def test_another_thread_wakes_the_wall_clock() -> None:
    async def main() -> str:
        loop = episode_loop()
        future: asyncio.Future[str] = loop.create_future()
        waits = threading.Event()

        def idle() -> bool:
            waits.set()
            return False

        def call() -> None:
            waits.wait()
            loop.call_soon_threadsafe(future.set_result, "woken")

        loop.on_idle(idle)
        thread = threading.Thread(target=call)
        thread.start()
        try:
            return await future  # no timer is set: only the thread can end this
        finally:
            thread.join()

    assert run(main(), "wall") == "woken"


@pytest.mark.parametrize("clock", CLOCKS)
def test_cancelling_reaches_every_kind_of_wait(clock: ClockName) -> None:
    async def main() -> list[str]:
        waits: list[Callable[[], asyncio.Future[None] | asyncio.Task[None]]] = [
            lambda: asyncio.create_task(asyncio.sleep(1000.0)),
            lambda: asyncio.get_running_loop().create_future(),
        ]
        ends = []
        for wait in waits:
            waiting = asyncio.ensure_future(wait())
            await asyncio.sleep(0)
            waiting.cancel()
            ends += [type(end).__name__ for end in await asyncio.gather(waiting, return_exceptions=True)]
        return ends

    assert run(main(), clock) == ["CancelledError", "CancelledError"]


INTERRUPTED = """
import asyncio, signal, sys, threading
from protocols.clock import run

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored

async def main(how):
    try:
        if how == "waiting":
            asyncio.get_running_loop().call_later(0.01, signal.raise_signal, signal.SIGINT)
            await asyncio.sleep(60)
        else:
            for i in range(10**9):
                if i == 100:
                    signal.raise_signal(signal.SIGINT)
                await asyncio.sleep(1e-9)
    finally:
        print("cleaned", end=" ")

for clock in ("virtual", "wall"):
    for how in ("waiting", "busy"):
        try:
            run(main(how), clock)
        except KeyboardInterrupt:
            print("interrupted", end=" ")
"""


def test_an_interrupt_cancels_cleans_up_and_arrives() -> None:
    # In a process of its own: under a test runner the handler of signals may not be Python's.
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.split(), done.stderr) == (["cleaned", "interrupted"] * 4, "")


def test_a_clock_there_is_not() -> None:
    async def main() -> None:
        raise AssertionError("never runs")

    with pytest.raises(ProtocolError, match="no clock 'sundial': use virtual or wall"):
        run(main(), "sundial")  # type: ignore[arg-type]
    gc.collect()  # nor is it left behind unawaited


def test_which_loop_runs() -> None:
    async def main() -> EpisodeLoop:
        return episode_loop()

    assert run(main()).clock == "virtual"
    assert run(main(), "wall").clock == "wall"
    with pytest.raises(ProtocolError, match=r"start it with protocols\.clock\.run"):
        asyncio.run(main())


@pytest.mark.parametrize("clock", CLOCKS)
def test_a_loop_inside_a_running_loop_gets_a_thread_of_its_own(clock: ClockName) -> None:
    async def main() -> tuple[str, bool]:
        await asyncio.sleep(0.001)
        return episode_loop().clock, threading.current_thread() is threading.main_thread()

    async def notebook() -> tuple[str, bool]:
        return run(main(), clock)

    assert asyncio.run(notebook()) == (clock, False)


def test_errors_inside_a_running_loop_are_raised_as_they_are() -> None:
    async def main() -> None:
        raise ValueError("no such move")

    async def notebook() -> None:
        run(main())

    with pytest.raises(ValueError, match="no such move"):
        asyncio.run(notebook())


def test_an_interrupt_inside_a_running_loop_cancels_the_coroutine() -> None:
    ended: list[str] = []

    async def main() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def notebook() -> None:
        with pytest.raises(KeyboardInterrupt):
            run(main(), "wall")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    loop = asyncio.new_event_loop()  # asyncio.run would handle the signal itself
    try:
        loop.run_until_complete(notebook())
    finally:
        loop.close()
        signal.signal(signal.SIGINT, before)
    assert ended == ["cancelled"]
