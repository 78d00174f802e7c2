"""A critic that uses what others see is told from one that does not; what an agent perceived stays as it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from marl.credit.arrays import Array, episode_arrays
from marl.credit.baselines import to_go
from marl.critic.permutation import perceived, permutation_test, shuffle
from marl.episode import Episode
from tests.marl.worlds import lm_for, played, seated, world


def lewis(count: int = 60) -> list[Episode]:
    here = world("lewis", arena={"n": 3, "k": 3})
    return played(here, seated(here, lm_for(here, seed=1), lm_for(here, seed=2)), count)


def knowing(episodes: Sequence[Episode]) -> Array:
    """At the receiver's decision: what its reply will be is not known, but state and message are."""
    table: dict[tuple[str, str], list[Array]] = {}
    arrays = episode_arrays(episodes, 1.0)
    returns = to_go(arrays)
    for e, episode in enumerate(episodes):
        table.setdefault(told(episode), []).append(returns[e, 1])
    values = np.zeros((len(episodes), 3, 2))
    for e, episode in enumerate(episodes):
        values[e, 1] = np.mean(table[told(episode)], 0)
        values[e, 0] = returns[:, 0].mean(0)
    return values


def told(episode: Episode) -> tuple[str, str]:
    return episode.log.entries[0].envelope.body, episode.turns[0].sample.text


def test_what_an_agent_perceived_stays() -> None:
    episodes = lewis()
    shuffled = shuffle(episodes, "receiver_0", np.random.default_rng(1))
    moved = 0
    for before, after in zip(episodes, shuffled, strict=True):
        assert after.log.view("receiver_0") == before.log.view("receiver_0")
        for old, new in zip(before.log.entries, after.log.entries, strict=True):
            moved += old != new
            assert old == new or not perceived(old, "receiver_0")
    assert moved > 20
    bodies = [sorted(e.log.entries[0].envelope.body for e in some) for some in (episodes, shuffled)]
    assert bodies[0] == bodies[1], "nothing is made up"


def test_a_critic_that_uses_the_joint_view_loses_by_permutation() -> None:
    episodes = lewis(400)
    result = permutation_test(episodes, knowing, episode_arrays(episodes, 1.0), seed=3)
    assert result.explained > result.permuted + 0.01
    assert result.p == pytest.approx(0.1)


def test_a_critic_that_sees_what_the_agent_sees_does_not() -> None:
    episodes = lewis(200)

    def blind(given: Sequence[Episode]) -> Array:
        return np.full((len(given), 3, 2), 0.4)

    result = permutation_test(episodes, blind, episode_arrays(episodes, 1.0), seed=3)
    assert result.explained == result.permuted == pytest.approx(0)
    assert result.p == 1
