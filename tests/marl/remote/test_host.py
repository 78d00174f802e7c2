"""Agents behind a broker: the same episodes as in memory, whoever comes, goes, dies, or is not let in."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any

import pytest

import arenas
from arenas.spec import ReplySpec
from marl.context.transcript import Transcript
from marl.episode import Episode, Sample, Stop
from marl.errors import UserError
from marl.policy.base import Policy, TextPolicy
from marl.policy.scripted import Random, Scripted
from marl.remote.host import Host
from marl.remote.rejections import Reason
from marl.remote.seat_client import SeatClient
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.scenario.world import World
from protocols import topics
from protocols.clock import run as on_clock
from protocols.envelope import Envelope, Kind
from protocols.errors import ProtocolError
from protocols.mqtt.bus import MqttBus
from protocols.topics import LOBBY
from tests.brokers import BROKERS, broker
from tests.marl.remote.elsewhere import elsewhere, refused
from tests.marl.worlds import WORLDS, raw, seated, world, world_of

runs = (f"run-{n}" for n in count())


def plans(seats: Any, episodes: int = 4, **options: Any) -> list[Plan]:
    return [Plan(f"e{i}", seats, 1, **options) for i in range(episodes)]


def randoms(here: World) -> dict[str, Policy]:
    return {seat: Random() for seat in here.agents}


def played(url: str, here: World, policies: dict[str, Policy], episodes: int = 4, **options: Any) -> list[Episode]:
    """Play with every seat elsewhere."""
    run = next(runs)
    with elsewhere(url, run, policies), Host(url, run, here.agents) as host:
        host.ready(20)
        done = collect(here, plans(host.seats(), episodes, **options))
    assert (refused(host), host.protocol.missed) == ({}, 0)
    return done


@pytest.mark.parametrize("name", BROKERS)
@pytest.mark.parametrize("settings", WORLDS.values(), ids=WORLDS)
def test_the_same_bytes_over_every_broker(settings: dict[str, Any], name: str) -> None:
    here = world(**settings)
    there = played(broker(name).url, here, randoms(here))
    assert raw(there) == raw(collect(here, plans(randoms(here))))


@pytest.mark.parametrize("name", BROKERS)
def test_the_same_bytes_in_every_arena(name: str) -> None:
    for arena in arenas.names():
        here = world_of({"arena": {"name": arena}})
        there = played(broker(name).url, here, randoms(here), 2)
        assert raw(there) == raw(collect(here, plans(randoms(here), 2)))
        assert {episode.stop for episode in there} <= {Stop.TERMINATED, Stop.TRUNCATED}


@pytest.mark.parametrize("settings", ["chat, all effects", "chat with a deadline", "matrix with a deadline"])
@pytest.mark.parametrize("greedy", [False, True])
def test_remote_models_sample_the_same_tokens(settings: str, greedy: bool) -> None:
    """Also where replies come too late: what was never given leaves the transcript there too."""
    here = world(**WORLDS[settings])
    local = collect(here, plans(seated(here), greedy=greedy))
    there = played(broker("mosquitto").url, here, seated(here), greedy=greedy)
    assert raw(there) == raw(local)
    for far, near in zip(there, local, strict=True):
        for one, other in zip(far.turns, near.turns, strict=True):
            assert (one.sample.tokens, one.sample.version) == (other.sample.tokens, other.sample.version)
            assert one.sample.behavior_logprobs == pytest.approx(other.sample.behavior_logprobs, abs=1e-5)
            assert one.sample.finish is other.sample.finish
    if "deadline" in settings:
        assert any(not turn.sample.tokens for episode in local for turn in episode.turns), "no reply came too late"


def test_local_and_remote_seats_mix() -> None:
    here = world(**WORLDS["chat, all effects"])
    run, url = next(runs), broker("mosquitto").url
    model = seated(here)
    mixed = {"a_0": Random(), "b_0": model["b_0"], "c_0": Random()}
    local = collect(here, plans(mixed))
    with elsewhere(url, run, {"a_0": Random(), "c_0": Random()}), Host(url, run, ["a_0", "c_0"]) as host:
        host.ready(20)
        assert raw(collect(here, plans({**model, **host.seats()}))) == raw(local)


class Dying(TextPolicy):
    """Another policy, until it has replied so often; then nothing comes from it any more, as from a dead process."""

    def __init__(self, policy: Policy, left: int) -> None:
        self.policy, self.left, self.name = policy, left, policy.name
        self.open, self.close = policy.open, policy.close  # type: ignore[method-assign]
        self.dead = asyncio.Event()

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        if self.left <= 0:
            self.dead.set()
            await asyncio.get_running_loop().create_future()
        self.left -= 1
        return await self.policy.reply(transcript, spec=spec, seed=seed, greedy=greedy)


@contextmanager
def succession(url: str, run: str, seat: str, first: Dying, second: Policy) -> Iterator[None]:
    """Let the second agent take the seat when the first one is dead."""

    async def live() -> None:
        async with MqttBus(url) as bus:
            dying = SeatClient(seat, first, bus, run, "first")
            sitting = asyncio.create_task(dying.sit())
            await first.dead.wait()
            sitting.cancel()
            await asyncio.gather(sitting, return_exceptions=True)
            await dying.leave()
        async with MqttBus(url) as bus:
            await SeatClient(seat, second, bus, run, "second").sit()

    thread = threading.Thread(target=lambda: on_clock(live(), "wall"), daemon=True)
    thread.start()
    yield
    thread.join(20)
    assert not thread.is_alive()


@pytest.mark.parametrize("left", [0, 1, 3, 7])
@pytest.mark.parametrize("settings", ["chat, all effects", "chat with a deadline"])
@pytest.mark.parametrize("make", [randoms, seated], ids=["random", "model"])
def test_another_agent_takes_over_in_the_middle(
    make: Callable[..., dict[str, Policy]], settings: str, left: int
) -> None:
    """It is told the episode so far, with the replies that were given, and goes on as its predecessor would have."""
    here = world(**WORLDS[settings])
    local = collect(here, plans(make(here), 3))
    run, url = next(runs), broker("mosquitto").url
    first, second = Dying(make(here)["a_0"], left), make(here)["a_0"]
    rest = {seat: policy for seat, policy in make(here).items() if seat != "a_0"}
    with succession(url, run, "a_0", first, second), elsewhere(url, run, rest), Host(url, run, here.agents) as host:
        host.ready(20)
        there = collect(here, plans(host.seats(), 3))
    assert raw(there) == raw(local)


def test_a_seat_that_fails_ends_its_episode_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    def broken(heard: Sequence[Envelope], spec: ReplySpec) -> str:
        raise LookupError("no such word")

    here = world("lewis")
    (episode,) = played(broker("mosquitto").url, here, {**randoms(here), "receiver_0": Scripted(broken)}, 1)
    assert (episode.stop, episode.error) == (Stop.ERROR, "receiver_0: LookupError('no such word')")
    assert episode.log.entries[-1].envelope.body == "error"


@pytest.mark.parametrize("deadline", [None, 1.0])
def test_patience_ends_a_wait(deadline: float | None, caplog: pytest.LogCaptureFixture) -> None:
    """With a deadline in the scenario the reply is missing, as ever; without one the episode ends and says why."""
    here = world("matrix", arena={"rounds": 2}, **({"deadline": deadline} if deadline else {}))
    run, url = next(runs), broker("mosquitto").url
    first, second = here.agents
    slow = Dying(Random(), 1)
    with elsewhere(url, run, {first: Random(), second: slow}), Host(url, run, here.agents, patience=0.5) as host:
        host.ready(20)
        (episode,) = collect(here, plans(host.seats(), 1))
    if deadline is None:
        assert (episode.stop, episode.error) == (Stop.ERROR, f"{second}: no reply within 0.5 s (--patience)")
    else:
        assert episode.stop is Stop.TERMINATED
        assert [turn.legal for turn in episode.turns if turn.agent == second] == [True, False]
        assert [e.data.get("missing", False) for e in episode.log.replies(second)] == [False, True]


def test_ready_times_out_without_agents() -> None:
    run, url = next(runs), broker("mosquitto").url
    with pytest.raises(UserError) as error, Host(url, run, ["a_0"]) as host:
        host.ready(0.1)
    assert str(error.value) == f"the seat a_0 was not there within 0.1 s: marl agent {url} --run {run} --seat a_0"


def test_a_run_has_one_host() -> None:
    run, url = next(runs), broker("mosquitto").url
    with (
        Host(url, run, ["a_0"]),
        pytest.raises(ProtocolError, match=f"the run '{run}' has a host already: choose another name with --run"),
        Host(url, run, ["a_0"]),
    ):
        pass
    with Host(url, run, ["a_0"]):
        pass  # now it is free again


def test_a_taken_seat_is_refused() -> None:
    here = world("lewis")
    run, url = next(runs), broker("mosquitto").url
    with elsewhere(url, run, randoms(here)), Host(url, run, here.agents) as host:
        host.ready(20)
        with (
            pytest.raises(UserError) as error,
            elsewhere(url, run, {"sender_0": Random()}),
        ):
            pass
        assert str(error.value) == (
            "the seat sender_0 is taken by another agent: choose another seat, or stop that one"
        )
        assert set(refused(host)) == {Reason.TAKEN}
        assert raw(collect(here, plans(host.seats()))) == raw(collect(here, plans(randoms(here))))


def test_a_retained_join_of_a_dead_agent_blocks_nobody() -> None:
    """Its announcement is still there, and no last will took it back."""
    here = world("lewis")
    run, url = next(runs), broker("mosquitto").url

    async def leave_behind() -> None:
        async with MqttBus(url) as bus:
            for seat in here.agents:
                ghost = Envelope(LOBBY, seat, 0, Kind.JOIN, data={"agent": "ghost", "policy": "random"})
                await bus.announce(topics.sent_by(run, LOBBY, seat), ghost)

    on_clock(leave_behind(), "wall")
    with ExitStack() as after_the_host, Host(url, run, here.agents) as host:
        host.ready(20)
        after_the_host.enter_context(elsewhere(url, run, randoms(here)))
        assert raw(collect(here, plans(host.seats()))) == raw(collect(here, plans(randoms(here))))
    assert not refused(host)


def test_tokens() -> None:
    here = world("lewis")
    run, url = next(runs), broker("mosquitto").url
    tokens = {"sender_0": "right", "receiver_0": "open sesame"}
    with (
        elsewhere(url, run, {"sender_0": Random()}, token="right"),
        elsewhere(url, run, {"receiver_0": Random()}, token="open sesame"),
        Host(url, run, here.agents, tokens=tokens) as host,
    ):
        for wrong in ("", "wrong", "open sesame"):
            with pytest.raises(UserError) as error, elsewhere(url, run, {"sender_0": Random()}, token=wrong):
                pass
            assert "the token for the seat sender_0 is wrong" in str(error.value)
        assert set(refused(host)) == {Reason.TOKEN}
        host.ready(20)
        assert raw(collect(here, plans(host.seats()))) == raw(collect(here, plans(randoms(here))))


def test_a_hand_written_client_can_play() -> None:
    """Everything a person with mosquitto_pub and mosquitto_sub would do, and nothing else."""
    here = world("lewis", arena={"n": 3, "k": 3})
    run, url = next(runs), broker("mosquitto").url
    spoken = Scripted(lambda heard, spec: "m2", name="remote")

    async def by_hand() -> None:
        async with MqttBus(url) as bus:
            inbox = await bus.subscribe(topics.to(run, "+", "sender_0"))
            await bus.announce(topics.sent_by(run, LOBBY, "sender_0"), Envelope(LOBBY, "sender_0", 0, Kind.JOIN))
            async for heard in inbox:
                if heard.kind is Kind.VIEW:
                    reply = Envelope(heard.episode, "sender_0", 0, Kind.SAY, body="m2", reply_to=heard.seq)
                    await bus.publish(topics.sent_by(run, heard.episode, "sender_0"), reply)
                if heard.kind is Kind.END:
                    await bus.announce(
                        topics.sent_by(run, LOBBY, "sender_0"), Envelope(LOBBY, "sender_0", 1, Kind.LEAVE)
                    )
                    return

    thread = threading.Thread(target=lambda: on_clock(by_hand(), "wall"), daemon=True)
    thread.start()
    with Host(url, run, ["sender_0"]) as host:
        host.ready(20)
        there = collect(here, plans({**host.seats(), "receiver_0": Random()}, 1))
        thread.join(20)
    assert raw(there) == raw(collect(here, plans({"sender_0": spoken, "receiver_0": Random()}, 1)))
