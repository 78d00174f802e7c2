"""All that waits is answered in one batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from arenas.spec import ReplySpec
from marl.context.transcript import Transcript
from marl.episode import Episode, Sample
from marl.errors import UserError
from marl.inference.server import PolicyServer
from marl.policy.base import TextPolicy
from tests.marl.worlds import lm_for, played, raw, world


def test_as_many_as_wait_are_answered_at_once() -> None:
    here = world(arena={"rounds": 2})
    server = PolicyServer(lm_for(here), "lm")
    episodes = played(here, dict.fromkeys(here.agents, server), 20)
    assert server.batches == 4  # two stages a round, whatever the number of episodes and agents
    assert server.sampled == sum(len(turn.sample.tokens) for episode in episodes for turn in episode.turns)


@pytest.mark.parametrize("most", [1, 7, 1024])
def test_the_size_of_batches_changes_no_token(most: int) -> None:
    here = world()
    lm = lm_for(here)

    def play(server: PolicyServer) -> list[Episode]:
        return played(here, dict.fromkeys(here.agents, server), 8)

    limited = PolicyServer(lm, "lm", max_batch=most)
    assert raw(play(limited)) == raw(play(PolicyServer(lm, "lm")))
    assert limited.batches >= 4 * 24 / most


def test_a_server_that_seats_many_gives_what_one_server_for_each_seat_gives() -> None:
    here = world()
    lm = lm_for(here)
    shared = played(here, dict.fromkeys(here.agents, PolicyServer(lm, "lm")), 4)
    apart = played(here, {agent: PolicyServer(lm, "lm") for agent in here.agents}, 4)
    assert raw(shared) == raw(apart)


def test_a_server_goes_on_after_its_loop_ended_and_after_its_weights_changed() -> None:
    here = world()
    lm = lm_for(here)
    server = PolicyServer(lm, "lm")
    seats = dict.fromkeys(here.agents, server)
    first = played(here, seats, 2)
    assert raw(played(here, seats, 2)) == raw(first)
    with torch.no_grad():
        for parameter in lm.model.parameters():
            parameter.mul_(1.5)
    server.publish(3)
    later = played(here, seats, 2)
    assert raw(later) != raw(first)
    assert {turn.sample.version for episode in later for turn in episode.turns} == {3}
    assert '"version":3' in later[0].log.to_bytes().decode()


def test_a_closed_transcript_holds_no_keys_and_values() -> None:
    here = world()
    server = PolicyServer(lm_for(here), "lm")
    kept = server.open()
    kept.cache, kept.cached = object(), 3
    server.close(kept)
    assert kept.cache is None
    assert kept.cached == 0


class Waits:
    """The same policy without a way to be answered by a call."""

    def __init__(self, server: PolicyServer) -> None:
        self.name, self.open, self.close, self.reply = server.name, server.open, server.close, server.reply


@pytest.mark.parametrize("settings", [{}, {"latency": {"constant": 0.2, "jitter": 1.0}, "deadline": 0.9}])
def test_who_waits_for_the_server_plays_as_who_is_called_by_it(settings: dict[str, Any]) -> None:
    here = world(**settings)
    lm = lm_for(here)
    called = played(here, dict.fromkeys(here.agents, PolicyServer(lm, "lm")), 4)
    waited = played(here, dict.fromkeys(here.agents, Waits(PolicyServer(lm, "lm"))), 4)
    assert raw(called) == raw(waited)
    assert not any(episode.error for episode in called)


def test_nothing_is_sampled_for_an_episode_that_is_over() -> None:
    class Fails(TextPolicy):
        async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
            raise UserError("no answer")

    here = world()
    server = PolicyServer(lm_for(here), "lm")
    (episode,) = played(here, dict.fromkeys(here.agents, server) | {"c_0": Fails()}, 1)
    assert (episode.error, episode.turns) == ("c_0: no answer", ())
    assert server.batches == 0
