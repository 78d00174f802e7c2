"""Every field of a reply survives the way over a broker, and the log replays to the same bytes, there and in memory."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

import pytest

from marl.episode import Episode
from marl.policy.base import Policy
from marl.policy.scripted import Random
from marl.remote.host import Host
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.rollout.replay import fork, replay
from marl.scenario.world import World
from tests.brokers import broker
from tests.marl.remote.elsewhere import elsewhere, refused
from tests.marl.rollout.test_replay_fields import ASIDES, FIELDS, PRICED, assert_same, carrying
from tests.marl.worlds import one, world

CALLING = {
    name: value for name, value in ASIDES.items() if name != "memory"
}  # hosts refuse memories of seats elsewhere
runs = (f"fields-{n}" for n in count())


def hosted(here: World, policies: Mapping[str, Policy], plan: Any) -> Episode:
    """Play one plan, made of the host's seats, with every policy behind the broker."""
    run, url = next(runs), broker("mosquitto").url
    with elsewhere(url, run, policies), Host(url, run, here.agents) as host:
        host.ready(20)
        (episode,) = collect(here, [plan(host.seats())])
    assert not refused(host)
    return episode


@pytest.mark.parametrize(
    ("settings", "fields"),
    [*((PRICED, fields) for fields in FIELDS.values()), (CALLING, FIELDS["all"])],
    ids=[*FIELDS, "all, with calls"],
)
def test_fields_survive_the_broker(settings: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
    here = world(**settings)
    episode = one(here, Plan("e", carrying(here, fields), 1))
    assert_same(hosted(here, carrying(here, fields), lambda seats: Plan("e", seats, 1)), episode)


def test_a_log_of_thinking_agents_replays_and_forks_over_the_broker() -> None:
    here = world(**PRICED)
    thinking = carrying(here, FIELDS["thought"])
    episode = one(here, Plan("e", thinking, 1))
    assert_same(hosted(here, dict.fromkeys(here.agents, Random()), lambda seats: replay(episode.log, seats)), episode)
    last = episode.turns[-1].seq
    assert_same(hosted(here, thinking, lambda seats: fork(episode.log, last, seats)), episode)
