"""What only the bus of one process promises, and what an inbox does by itself."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import topics
from protocols.bus import Bus, MemoryBus, Subscription
from protocols.clock import run
from protocols.connect import connect
from protocols.envelope import Envelope, Kind
from protocols.errors import ProtocolError

LEVELS = st.sampled_from(["a", "b", ""])
TOPICS = st.lists(LEVELS, min_size=1, max_size=4).map("/".join).filter(bool)
PATTERNS = st.builds(
    lambda levels, rest: "/".join([*levels, *rest]),
    st.lists(LEVELS | st.just("+"), max_size=3),
    st.sampled_from([[], ["#"]]),
).filter(bool)


class Body(str):
    """Text that a weak reference can follow, as it cannot follow an envelope."""


def envelope(n: int) -> Envelope:
    return Envelope(episode="0", sender="a_0", n=n, kind=Kind.SAY)


def put(inbox: Subscription, n: int) -> None:
    inbox.put(envelope(n), ("0", "a_0", n))


@given(st.lists(st.tuples(st.sampled_from(["open", "close", "publish"]), PATTERNS, TOPICS), max_size=25))
def test_the_trie_agrees_with_the_grammar(steps: list[tuple[str, str, str]]) -> None:
    """Subscriptions come and go between publishes, so that no route is remembered past its time."""

    async def main() -> None:
        open_now: list[tuple[str, Subscription]] = []
        expected: dict[int, list[int]] = {}
        seen: list[tuple[str, Subscription]] = []
        async with MemoryBus() as bus:
            for n, (step, pattern, topic) in enumerate(steps):
                if step == "open":
                    open_now.append((pattern, await bus.subscribe(pattern)))
                    seen.append(open_now[-1])
                elif step == "close" and open_now:
                    await bus.unsubscribe(*open_now.pop(n % len(open_now)))
                elif step == "publish":
                    await bus.publish(topic, envelope(n))
                    for under, inbox in open_now:
                        if topics.matches(under, topic):
                            expected.setdefault(id(inbox), []).append(n)
            for _, inbox in seen:
                inbox.close()
                assert [got.n async for got in inbox] == expected.get(id(inbox), [])
                assert (inbox.duplicates, inbox.dropped) == (0, 0)

    run(main())


def test_readers_run_when_the_publisher_awaits() -> None:
    async def main() -> None:
        async with MemoryBus() as bus:
            inbox = await bus.subscribe("a")
            await bus.publish("a", envelope(0))
            assert len(inbox) == 1
            sent = envelope(1)
            await bus.publish("a", sent)
            await inbox.get()
            assert await inbox.get() is sent  # no copies, no serialisation

    run(main())


def test_unsubscribing_frees_inbox_and_levels() -> None:
    async def main() -> None:
        async with MemoryBus() as bus:
            undelivered: list[weakref.ref[Body]] = []
            for i in range(50):
                patterns = [topics.to("run", str(i), "a_0"), topics.sent_by("run", str(i)), f"sabir/+/{i}/#"]
                inboxes = [await bus.subscribe(pattern) for pattern in patterns]
                for topic in (patterns[0], topics.sent_by("run", str(i), "a_0")):
                    body = Body()
                    undelivered.append(weakref.ref(body))
                    await bus.publish(topic, envelope(0)._replace(body=body))
                assert list(map(len, inboxes)) == [1, 1, 1]
                for pattern, inbox in zip(patterns, inboxes, strict=True):
                    await bus.unsubscribe(pattern, inbox)
            del inboxes, inbox, body
            gc.collect()
            assert {gone() for gone in undelivered} == {None}
            assert not bus._root.children
            assert not bus._inboxes
            assert not bus._below

    run(main())


def test_an_inbox_knows_the_last_identities_and_forgets_old_ones() -> None:
    inbox = Subscription(capacity=30_000)
    for n in range(20_000):
        put(inbox, n)
        assert len(inbox._seen) + len(inbox._before) <= 2 * 4_096
    for n in (19_999, 20_000 - 4_096):
        put(inbox, n)
    assert (len(inbox), inbox.duplicates) == (20_000, 2)
    put(inbox, 0)  # long ago: it comes a second time, and memory stays bounded
    assert (len(inbox), inbox.duplicates) == (20_001, 2)


def test_a_closed_inbox_counts_what_it_refuses() -> None:
    inbox = Subscription()
    put(inbox, 0)
    inbox.close()
    inbox.close()
    put(inbox, 1)
    put(inbox, 0)
    assert (len(inbox), inbox.dropped, inbox.duplicates) == (1, 1, 1)


def test_a_burst_wakes_its_reader_once() -> None:
    async def main() -> None:
        inbox = Subscription()
        reader = asyncio.create_task(inbox.get())
        await asyncio.sleep(0)
        for n in range(3):
            put(inbox, n)
        inbox.close()
        assert (await reader).n == 0
        assert [got.n async for got in inbox] == [1, 2]

    run(main())


def test_connect() -> None:
    bus: Bus = connect("memory://")
    assert isinstance(bus, MemoryBus)
    assert connect("memory://") is not bus
    with pytest.raises(ProtocolError, match="no bus for 'carrier-pigeon://loft': use memory://, mqtt:// or mqtts://"):
        connect("carrier-pigeon://loft")
