"""No two hosts have one run, however close together they start, and in whatever order the broker takes their words."""

from __future__ import annotations

import random
import threading
from itertools import count
from typing import Any

import pytest

from marl.remote.host import Host
from marl.remote.run_claim import RunClaim
from protocols.envelope import REFEREE, Envelope, Kind
from protocols.errors import ProtocolError
from protocols.topics import LOBBY
from tests.brokers import BROKERS, broker

runs = (f"claim-{n}" for n in count())


@pytest.mark.parametrize("name", BROKERS)
def test_hosts_that_start_at_once(name: str) -> None:
    url = broker(name).url
    for _ in range(4):
        outcomes: list[str] = []
        run, start, over = next(runs), threading.Barrier(3), threading.Barrier(3)

        def host(url: str, run: str, start: Any, over: Any, outcomes: list[Any]) -> None:
            start.wait()
            try:
                with Host(url, run, ["a_0"]):
                    outcomes.append("has it")
                    over.wait(30)
            except ProtocolError as error:
                outcomes.append(str(error))
                over.wait(30)

        threads = [threading.Thread(target=host, args=(url, run, start, over, outcomes)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        lost = f"the run {run!r} has a host already: choose another name with --run"
        assert sorted(outcomes) == ["has it", lost, lost]


class Contender:
    """A host that takes its steps one at a time, over a broker whose order is the order of the steps."""

    def __init__(self, name: str) -> None:
        self.claim, self.name, self.steps, self.state = RunClaim(name), name, 0, "away"

    def say(self, kind: Kind, n: int, **data: Any) -> Envelope:
        notice = Envelope(LOBBY, REFEREE, n, kind, data={"host": self.name, **data})
        self.claim.expect(notice)
        return notice


@pytest.mark.parametrize("seed", range(60))
def test_every_order_has_at_most_one_winner(seed: int) -> None:
    """Three hosts interleave at random; each step is a word that all who listen hear at once."""
    dice, numbers = random.Random(seed), count(1)
    hosts = [Contender(name) for name in "abc"]
    retained: list[Envelope] = []
    for _ in range(400):
        host = dice.choice(hosts)
        claim, word = host.claim, None
        if host.state == "away":
            host.state = "looks"
            for envelope in retained:
                claim.heard(envelope)
        elif host.state == "looks":
            if claim.holder is None:
                host.state = "asks"
            elif claim.decided:
                host.state = "lost"
        elif host.state == "asks":
            word, host.state = host.say(Kind.VIEW, next(numbers)), "joins"
        elif host.state == "joins":
            host.state = "looks"
            if not claim.contested:
                word, host.state = host.say(Kind.JOIN, next(numbers)), "judges"
        elif host.state == "judges":
            host.state = "looks" if claim.contested or claim.holder else "wins"
        elif host.state == "wins":
            word, host.state = host.say(Kind.JOIN, next(numbers), opened=True), "has it"
        if word is not None:
            if word.kind is Kind.JOIN:
                retained = [word]
            for other in hosts:
                if other.state != "away":
                    other.claim.heard(word)
        assert [h.state for h in hosts].count("has it") + [h.state for h in hosts].count("wins") <= 1
    assert sorted(h.state for h in hosts) == ["has it", "lost", "lost"]
