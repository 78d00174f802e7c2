"""Baselines against their definitions, written out without arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marl.credit.arrays import EpisodeArrays, episode_arrays
from marl.credit.baselines import agent_turn, group, prompts, role, to_go
from marl.credit.estimators import monte_carlo
from marl.episode import Episode, Stop
from tests.marl.credit.test_credit import AGENTS, episode
from tests.marl.worlds import lm_for, played, seated, world


@st.composite
def several(draw: st.DrawFn) -> list[Episode]:
    """Two to six episodes of two agents who move in turn or at once, of different lengths."""
    episodes = []
    for _ in range(draw(st.integers(2, 6))):
        stages: list[tuple[int, Sequence[str]]] = []
        at = 0
        for _ in range(draw(st.integers(1, 4))):
            stages.append((at, draw(st.sampled_from([AGENTS[:1], AGENTS[1:2], AGENTS[:2]]))))
            at += draw(st.integers(1, 2))
        count = sum(len(who) for _, who in stages)
        rewards = [[float(draw(st.integers(-4, 4))) for _ in AGENTS[:2]] for _ in range(count)]
        episodes.append(replace(episode(AGENTS[:2], stages, rewards, Stop.TERMINATED), agents=AGENTS[:2]))
    return episodes


def ahead(arrays: EpisodeArrays, e: int, k: int, i: int, gamma: float) -> float:
    """The discounted return from a decision on."""
    count = int(arrays.valid[e].sum())
    paid = [
        gamma ** float(arrays.stage[e, j] - arrays.stage[e, k]) * float(arrays.rewards[e, j, i])
        for j in range(k, count)
    ]
    return float(sum(paid))


@given(several(), st.sampled_from([1.0, 0.5]))
def test_a_group_is_compared_with_its_others_from_the_same_stage_on(episodes: list[Episode], gamma: float) -> None:
    arrays = episode_arrays(episodes, gamma)
    value = group(arrays, np.zeros(len(episodes), np.int64))
    for e in range(len(episodes)):
        for k in range(int(arrays.valid[e].sum())):
            for i in range(2):
                others = []
                for o in range(len(episodes)):
                    same = [j for j in range(int(arrays.valid[o].sum())) if arrays.stage[o, j] == arrays.stage[e, k]]
                    others += [ahead(arrays, o, same[0], i, gamma) if same else 0.0] if o != e else []
                assert value[e, k, i] == pytest.approx(sum(others) / len(others), abs=1e-9)
    assert (value[:, -1] == 0).all()


def test_groups_do_not_see_each_other_and_one_alone_is_refused() -> None:
    pays = [1.0, 3.0, 10.0, 20.0]
    episodes = [episode(("a_0",), [(0, ("a_0",))], [[pay]], Stop.TERMINATED) for pay in pays]
    arrays = episode_arrays(episodes, 1.0)
    assert group(arrays, np.array([0, 0, 1, 1]))[:, 0, 0].tolist() == [3.0, 1.0, 20.0, 10.0]
    with pytest.raises(ValueError, match="group of one"):
        group(arrays, np.array([0, 0, 0, 1]))


@given(several(), st.randoms(use_true_random=False))
def test_a_prompt_is_compared_with_its_like_and_alone_teaches_nothing(episodes: list[Episode], random: Any) -> None:
    arrays = episode_arrays(episodes, 1.0)
    contexts = np.array([[2 * random.randrange(3) + max(int(i), 0) for i in row] for row in arrays.actor])
    advantage = monte_carlo(arrays, agent_turn(arrays, contexts), 1.0).advantage
    own = {
        (e, k): ahead(arrays, e, k, int(arrays.actor[e, k]), 1.0)
        for e, k in zip(*np.nonzero(arrays.valid), strict=True)
    }
    for (e, k), value in own.items():
        others = [v for at, v in own.items() if at != (e, k) and contexts[at] == contexts[e, k]]
        assert advantage[e, k] == pytest.approx(value - sum(others) / len(others) if others else 0.0, abs=1e-9)


def test_a_role_is_compared_with_what_it_used_to_get() -> None:
    arrays = episode_arrays([episode(("a_0", "b_0"), [(0, ("a_0", "b_0"))], [[1, 2], [3, 4]], Stop.TERMINATED)], 1.0)
    assert role(arrays, {1: 0.5})[0].tolist() == [[0.0, 0.5], [0.0, 0.5], [0.0, 0.0]]


def test_prompts_are_equal_exactly_where_all_that_was_perceived_is() -> None:
    here = world("lewis", arena={"n": 3, "k": 2})
    episodes = played(here, seated(here, lm_for(here)), 40)
    prompt_ids = prompts(episodes, 2)
    assert not set(prompt_ids[:, 0]) & set(prompt_ids[:, 1]), "agents do not share prompts"
    texts = [(e.log.entries[0].envelope.body, e.turns[0].sample.text) for e in episodes]  # to the sender, the receiver
    for turn in range(2):
        by_prompt = {(prompt_ids[i, turn], texts[i][turn]) for i in range(len(episodes))}
        assert len(by_prompt) == len({number for number, _ in by_prompt}) == len({text for _, text in by_prompt})


def test_returns_to_go_are_sums_of_what_follows() -> None:
    arrays = episode_arrays([episode(("a_0",), [(0, ("a_0",)), (2, ("a_0",))], [[1], [4]], Stop.TERMINATED)], 0.5)
    assert to_go(arrays)[0, :, 0].tolist() == [2.0, 4.0]
