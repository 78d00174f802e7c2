"""What the host sends to a listener's topic: the words as the channel left them, and nothing of the sender's."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from arenas.spec import ReplySpec, from_wire
from marl.context.transcript import Transcript
from marl.episode import Sample
from marl.policy.base import TextPolicy
from marl.remote.remote_policy import RemotePolicy
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from protocols.envelope import Envelope, Kind
from protocols.log import Log
from tests.marl.worlds import world

SECRET: dict[str, Any] = {
    "tokens": tuple(b"SECRET"),
    "behavior_logprobs": (-1.0,) * 6,
    "version": 7,
    "usage": {"the state is s3, pick it": 1.0},
    "thought": "s3",
    "thinking": 2,
}


class Whisperer(TextPolicy):
    """Says a legal word with white space around it, and as much beside it as a reply can carry."""

    name = "whisperer"

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        return Sample(f" {spec.words(0)[0]} \t\n", **SECRET)


class Listener:
    """A transport whose seat replies at once, and notes all that it is sent."""

    def __init__(self) -> None:
        self.topic: list[Envelope] = []

    def tell(self, seat: str, envelope: Envelope) -> None:
        self.topic.append(envelope)

    def ask(self, seat: str, view: Envelope) -> Future[Sample | None]:
        answer: Future[Sample | None] = Future()
        answer.set_result(Sample(" ".join(from_wire(view.data["reply"]).words(0))))
        return answer

    def close(self, seat: str, episode: str) -> None:
        pass


CHANNELS: dict[str, dict[str, Any]] = {
    "plain": {},
    "noise": {"channel": [{"type": "noise", "p": 1.0}]},
    "twice": {"channel": [{"type": "duplicate", "p": 1.0}]},
    "priced": {"channel": [{"type": "price", "per_symbol": 0.5}, {"type": "budget", "symbols": 1}]},
    "rewritten": {"channel": [{"type": "rewrite", "table": {"m0": "m1"}}]},
    "intervened": {"interventions": [{"type": "rewrite", "table": {"m0": "m1"}, "channel": "public"}]},
}


@pytest.mark.parametrize("name", CHANNELS)
def test_a_listener_is_sent_words_alone(name: str) -> None:
    here, listener = world("lewis", **CHANNELS[name]), Listener()
    seats = {"sender_0": Whisperer(), "receiver_0": RemotePolicy(listener, "receiver_0", "remote")}
    (episode,) = collect(here, [Plan("e0", seats, 1)])
    heard = [envelope for envelope in listener.topic if envelope.kind is Kind.SAY]
    assert len(heard) == (2 if name == "twice" else 1)
    for envelope in heard:
        assert not envelope.data
        assert envelope.reply_to is None
        assert envelope.body.split() == [envelope.body]
        assert envelope.body.startswith("m")
        assert b"SECRET" not in envelope.to_json()
    log: Log = episode.log
    said = next(log.replies("sender_0"))
    assert said.data["tokens"] == SECRET["tokens"]  # the log, for the critic and for replays, has them
    assert [e for e in log.view("receiver_0") if e.kind is Kind.SAY] == heard


def test_under_another_name() -> None:
    here, listener = world("population"), Listener()
    seats = {agent: RemotePolicy(listener, agent, "remote") for agent in here.agents}
    collect(here, [Plan("e0", {**seats, here.agents[0]: Whisperer()}, 1)])
    heard = [envelope for envelope in listener.topic if envelope.kind is Kind.SAY]
    assert heard
    assert all(not envelope.data and envelope.reply_to is None for envelope in heard)
