"""What every bus must do. A backend joins by one more line in BACKENDS.

A scenario may not assume that an envelope has arrived when `publish` returns. That nothing came is shown by sending
one more envelope which must come: a publisher's order is kept, so what was sent before it was not delivered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols import topics
from protocols.bus import Bus, MemoryBus, Subscription
from protocols.clock import ClockName, run
from protocols.connect import connect
from protocols.envelope import Envelope, Kind
from protocols.errors import ProtocolError
from tests.brokers import broker


class Backend(NamedTuple):
    """A kind of bus, and the clock it runs on."""

    name: str
    make: Callable[[], Bus]
    clock: ClockName

    def play(self, scenario: Callable[[Bus], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            async with asyncio.timeout(30), self.make() as bus:
                await scenario(bus)

        run(main(), self.clock)


BACKENDS = [
    Backend("memory", MemoryBus, "virtual"),
    Backend("memory on the wall clock", MemoryBus, "wall"),
    Backend("amqtt", lambda: connect(broker("amqtt", "conformance").url), "wall"),
    Backend("mosquitto", lambda: connect(broker("mosquitto", "conformance").url), "wall"),
]
TOPIC = topics.to("run", "0", "a_0")


def envelope(n: int, body: str = "", sender: str = "b_0") -> Envelope:
    return Envelope(episode="0", sender=sender, n=n, kind=Kind.SAY, body=body)


async def take(inbox: Subscription, count: int) -> list[int]:
    return [(await inbox.get()).n for _ in range(count)]


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
class TestEveryBus:
    def test_what_arrives_is_what_was_sent(self, backend: Backend) -> None:
        sent = Envelope(
            episode="7",
            sender="naïve",
            n=3,
            kind=Kind.MOVE,
            to="a_0",
            seq=12,
            time=1.25,
            body="Γειά σου 🐟\n\x00\u2028",
            data={"x": [1, 2.5, None, {"ключ": "值"}]},
            reply_to=4,
        )

        async def scenario(bus: Bus) -> None:
            inbox = await bus.subscribe(TOPIC)
            await bus.publish(TOPIC, sent)
            assert await inbox.get() == sent

        backend.play(scenario)

    def test_a_reader_is_handed_what_was_there_and_what_comes(self, backend: Backend) -> None:
        async def scenario(bus: Bus) -> None:
            inbox = await bus.subscribe(TOPIC)
            other = await bus.subscribe(TOPIC)
            await bus.publish(TOPIC, envelope(0))
            assert (await other.get()).n == 0
            heard: list[int] = []

            def reader(each: Envelope) -> bool:
                heard.append(each.n)
                return True

            inbox.call(reader)
            for n in (1, 1, 2):
                await bus.publish(TOPIC, envelope(n))
            assert await take(other, 2) == [1, 2]
            await bus.publish(TOPIC, envelope(3))
            assert (await other.get()).n == 3
            assert heard == [0, 1, 2, 3]
            assert (inbox.duplicates, len(inbox)) == (1, 0)
            inbox.call(None)
            await bus.publish(TOPIC, envelope(4))
            assert (await other.get()).n == 4
            assert [(await inbox.get()).n, heard] == [4, [0, 1, 2, 3]]

        backend.play(scenario)

    def test_what_a_reader_does_not_take_waits_in_order(self, backend: Backend) -> None:
        async def scenario(bus: Bus) -> None:
            inbox = await bus.subscribe(TOPIC)
            other = await bus.subscribe(TOPIC)
            heard: list[int] = []
            room = 1

            def reader(each: Envelope) -> bool:
                if len(heard) < room:
                    heard.append(each.n)
                    return True
                return False

            inbox.call(reader)
            for n in range(4):
                await bus.publish(TOPIC, envelope(n))
            assert await take(other, 4) == [0, 1, 2, 3]
            assert (heard, len(inbox)) == ([0], 3)
            room = 3
            inbox.offer()
            assert (heard, len(inbox)) == ([0, 1, 2], 1)
            room = 9
            await bus.publish(TOPIC, envelope(4))  # it may not overtake the one that waits
            assert (await other.get()).n == 4
            assert heard == [0, 1, 2]
            inbox.offer()
            assert (heard, len(inbox)) == ([0, 1, 2, 3, 4], 0)

        backend.play(scenario)

    def test_large_bodies(self, backend: Backend) -> None:
        async def scenario(bus: Bus) -> None:
            inbox = await bus.subscribe(TOPIC)
            await bus.publish(TOPIC, envelope(0, "🐟" * 200_000))
            assert (await inbox.get()).body == "🐟" * 200_000

        backend.play(scenario)

    def test_order_per_sender(self, backend: Backend) -> None:
        async def send(bus: Bus, sender: str) -> None:
            for n in range(100):
                await bus.publish(topics.sent_by("run", "0", sender), envelope(n, sender=sender))
                if n % 7 == 0:
                    await asyncio.sleep(0)

        async def scenario(bus: Bus) -> None:
            inbox = await bus.subscribe(topics.sent_by("run", "0"))
            senders = ("b_0", "b_1", "b_2")
            heard: dict[str, list[int]] = {sender: [] for sender in senders}
            async with asyncio.TaskGroup() as group:
                for sender in senders:
                    group.create_task(send(bus, sender))
                for _ in range(300):
                    got = await inbox.get()
                    heard[got.sender].append(got.n)
            assert all(order == list(range(100)) for order in heard.values())

        backend.play(scenario)

    @pytest.mark.parametrize(
        ("pattern", "hears"),
        [
            ("r/e/to/a", [0]),
            ("r/e/to/+", [0, 1]),
            ("r/+/to/a", [0, 3]),
            ("+/+/+/+", [0, 1, 2, 3]),
            ("r/e/#", [0, 1, 2, 4]),
            ("r/e/to/a/#", [0]),
            ("#", [0, 1, 2, 3, 4, 5]),
            ("r/e", [4]),
            ("r/e/to", []),
            ("R/e/to/a", []),
        ],
    )
    def test_wildcards(self, backend: Backend, pattern: str, hears: list[int]) -> None:
        async def scenario(bus: Bus) -> None:
            inbox = await bus.subscribe(pattern)
            last = await bus.subscribe("last")
            for n, topic in enumerate(["r/e/to/a", "r/e/to/b", "r/e/from/a", "r/f/to/a", "r/e", "last"]):
                await bus.publish(topic, envelope(n))
            await last.get()
            assert await take(inbox, len(hears)) == hears
            assert len(inbox) == 0

        backend.play(scenario)

    @settings(max_examples=15)
    @given(st.data())
    def test_delivery_agrees_with_the_grammar(self, backend: Backend, data: st.DataObject) -> None:
        level = st.sampled_from(["a", "b", "c"])
        patterns = data.draw(
            st.lists(st.lists(level | st.just("+"), min_size=1, max_size=3).map("/".join), min_size=1, max_size=4)
        )
        patterns = [pattern + data.draw(st.sampled_from(["", "/#"])) for pattern in patterns] + ["#"]
        published = data.draw(st.lists(st.lists(level, min_size=1, max_size=4).map("/".join), max_size=6))

        async def scenario(bus: Bus) -> None:
            inboxes = [await bus.subscribe(pattern) for pattern in patterns]
            for n, topic in enumerate(published):
                await bus.publish(topic, envelope(n))
            assert await take(inboxes[-1], len(published)) == list(range(len(published)))
            for pattern, inbox in zip(patterns[:-1], inboxes[:-1], strict=True):
                expected = [n for n, topic in enumerate(published) if topics.matches(pattern, topic)]
                assert await take(inbox, len(expected)) == expected
                assert len(inbox) == 0

        backend.play(scenario)

    def test_overlapping_subscriptions_get_one_copy_each(self, backend: Backend) -> None:
        async def scenario(bus: Bus) -> None:
            patterns = [TOPIC, TOPIC, "#", "sabir/#", "sabir/+/+/to/+"]
            inboxes = [await bus.subscribe(pattern) for pattern in patterns]
            for n in range(3):
                await bus.publish(TOPIC, envelope(n))
            for inbox in inboxes:
                assert await take(inbox, 3) == [0, 1, 2]
            assert [(len(inbox), inbox.duplicates, inbox.dropped) for inbox in inboxes] == [(0, 0, 0)] * 5

        backend.play(scenario)

    def test_duplicates_are_counted_and_not_delivered(self, backend: Backend) -> None:
        async def scenario(bus: Bus) -> None:
            inbox = await bus.subscribe("#")
            for n in (0, 0, 1, 0, 1, 2):
                await bus.publish(TOPIC, envelope(n))
            assert await take(inbox, 3) == [0, 1, 2]
            assert (inbox.duplicates, inbox.dropped) == (3, 0)

        backend.play(scenario)

    def test_identity_is_episode_sender_and_count(self, backend: Backend) -> None:
        async def scenario(bus: Bus) -> None:
            inbox = await bus.subscribe("#")
            first = envelope(0)
            others = [first._replace(**change) for change in ({"episode": "1"}, {"sender": "b_1"}, {"n": 1})]
            for one in (first, *others, first._replace(body="the same again")):
                await bus.publish(TOPIC, one)
            await bus.publish(TOPIC, envelope(2))
            assert [await inbox.get() for _ in range(5)] == [first, *others, envelope(2)]
            assert inbox.duplicates == 1

        backend.play(scenario)

    def test_a_full_inbox_refuses_and_counts(self, backend: Backend) -> None:
        async def scenario(bus: Bus) -> None:
            small, roomy = await bus.subscribe("#", capacity=3), await bus.subscribe("#")
            for n in range(10):
                await bus.publish(TOPIC, envelope(n))
            await take(roomy, 10)
            assert (len(small), small.dropped, roomy.dropped) == (3, 7, 0)
            assert await take(small, 3) == [0, 1, 2]
            await bus.publish(TOPIC, envelope(5))  # what was refused may be sent again
            assert await take(small, 1) == [5]
            assert (small.dropped, small.duplicates, roomy.duplicates) == (7, 0, 1)

        backend.play(scenario)

    def test_close_wakes_a_reader(self, backend: Backend) -> None:
        async def scenario(bus: Bus) -> None:
            inbox = await bus.subscribe(TOPIC)
            reader = asyncio.create_task(take(inbox, 1))
            await asyncio.sleep(0)
            inbox.close()
            with pytest.raises(StopAsyncIteration):
                await reader
            assert inbox.closed

        backend.play(scenario)

    def test_iteration_ends_after_what_had_come(self, backend: Backend) -> None:
        async def scenario(bus: Bus) -> None:
            inbox, other = await bus.subscribe(TOPIC), await bus.subscribe(TOPIC)
            for n in range(3):
                await bus.publish(TOPIC, envelope(n))
            await take(other, 3)
            await bus.unsubscribe(TOPIC, inbox)
            await bus.publish(TOPIC, envelope(3))
            await take(other, 1)
            assert [got.n async for got in inbox] == [0, 1, 2]
            assert inbox.dropped == 0

        backend.play(scenario)

    def test_leaving_the_bus_ends_every_reader(self, backend: Backend) -> None:
        async def read(inbox: Subscription) -> list[int]:
            return [got.n async for got in inbox]

        async def main() -> None:
            async with backend.make() as bus:
                patterns = [TOPIC, "#", "sabir/+/#"]
                inboxes = [await bus.subscribe(pattern) for pattern in patterns]
                readers = [asyncio.create_task(read(inbox)) for inbox in inboxes]
                await asyncio.sleep(0)
            assert await asyncio.gather(*readers) == [[], [], []]
            for pattern, inbox in zip(patterns, inboxes, strict=True):
                await bus.unsubscribe(pattern, inbox)  # harmless now

        run(main(), backend.clock)

    def test_unsubscribing_touches_nobody_else(self, backend: Backend) -> None:
        async def scenario(bus: Bus) -> None:
            one, other = await bus.subscribe(TOPIC), await bus.subscribe(TOPIC)
            await bus.publish(TOPIC, envelope(0))
            await take(other, 1)
            await bus.unsubscribe(TOPIC, one)
            await bus.unsubscribe(TOPIC, one)  # a second time is harmless
            with pytest.raises(ProtocolError, match="was not opened under 'elsewhere'"):
                await bus.unsubscribe("elsewhere", other)
            await bus.publish(TOPIC, envelope(1))
            assert await take(other, 1) == [1]
            again = await bus.subscribe(TOPIC)
            await bus.publish(TOPIC, envelope(2))
            assert await take(again, 1) == [2]

        backend.play(scenario)

    def test_cancelling_a_waiting_reader_loses_nothing(self, backend: Backend) -> None:
        async def scenario(bus: Bus) -> None:
            inbox, other = await bus.subscribe(TOPIC), await bus.subscribe(TOPIC)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(inbox.get(), 0.01)
            reader = asyncio.create_task(inbox.get())
            await asyncio.sleep(0)
            await bus.publish(TOPIC, envelope(0))
            reader.cancel()  # on MemoryBus the reader has been woken and has not run yet
            with pytest.raises(asyncio.CancelledError):
                await reader
            await take(other, 1)
            assert await take(inbox, 1) == [0]

        backend.play(scenario)

    def test_a_second_reader_is_refused(self, backend: Backend) -> None:
        async def scenario(bus: Bus) -> None:
            inbox = await bus.subscribe(TOPIC)
            reader = asyncio.create_task(take(inbox, 1))
            await asyncio.sleep(0)
            with pytest.raises(ProtocolError, match="one reader"):
                await inbox.get()
            await bus.publish(TOPIC, envelope(0))
            assert await reader == [0]

        backend.play(scenario)

    @pytest.mark.parametrize("pattern", ["", "#/a", "a+", "a/b#"])
    def test_patterns_refused(self, backend: Backend, pattern: str) -> None:
        async def scenario(bus: Bus) -> None:
            with pytest.raises(ProtocolError):
                await bus.subscribe(pattern)

        backend.play(scenario)

    @pytest.mark.parametrize("topic", ["", "a/+", "#", "a/#"])
    def test_topics_refused(self, backend: Backend, topic: str) -> None:
        async def scenario(bus: Bus) -> None:
            inbox = await bus.subscribe("#")
            with pytest.raises(ProtocolError, match="cannot publish"):
                await bus.publish(topic, envelope(0))
            await bus.publish("a", envelope(1))
            assert await take(inbox, 1) == [1]

        backend.play(scenario)

    def test_an_inbox_needs_room(self, backend: Backend) -> None:
        async def scenario(bus: Bus) -> None:
            with pytest.raises(ProtocolError, match="at least one"):
                await bus.subscribe(TOPIC, capacity=0)

        backend.play(scenario)
