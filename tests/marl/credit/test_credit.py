"""Every estimator against its definition, written out without recursion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from arenas.spec import choose
from marl.credit.arrays import EpisodeArrays, episode_arrays
from marl.credit.estimators import individual, monte_carlo, normalise, sequential, team
from marl.episode import Episode, Sample, Stop, Turn
from marl.policy.scripted import Random
from protocols.log import Log
from tests.marl import worlds

Array = NDArray[np.float64]
SPEC = choose(("x",))
ESTIMATORS = {"sequential": sequential, "team": team, "individual": individual, "monte_carlo": monte_carlo}
AGENTS = ("a_0", "b_0", "c_0")


class Case(NamedTuple):
    """Episodes of several lengths, and values for them, with rubbish where no value is."""

    episodes: list[Episode]
    gamma: float
    values: Array  # [E, K + 1, N]
    lam: float

    @property
    def arrays(self) -> EpisodeArrays:
        return episode_arrays(self.episodes, self.gamma)


def episode(
    agents: Sequence[str], stages: Sequence[tuple[int, Sequence[str]]], rewards: Sequence[Sequence[float]], stop: Stop
) -> Episode:
    """`stages` are (number of the round, who moved in it)."""
    turns = [
        Turn(agent, seq, number, SPEC, ("x",), True, Sample("x"))
        for seq, (number, agent) in enumerate((number, agent) for number, movers in stages for agent in movers)
    ]
    return Episode(Log("e", 1, {}, {}), tuple(agents), tuple(turns), tuple(map(tuple, rewards)), stop)


NUMBERS = st.floats(-3, 3, width=16)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    agents = AGENTS[: draw(st.integers(1, 3))]
    gamma, lam = draw(st.sampled_from([1.0, 0.9, 0.5])), draw(st.sampled_from([0.0, 0.3, 0.95, 1.0]))
    episodes = []
    for _ in range(draw(st.integers(1, 3))):
        number, stages = 0, []
        for _ in range(draw(st.integers(1, 4))):
            stages.append((number, sorted(draw(st.sets(st.sampled_from(agents), min_size=1)))))
            number += draw(st.integers(1, 2))
        count = sum(len(movers) for _, movers in stages)
        rewards = [[draw(NUMBERS) for _ in agents] for _ in range(count)]
        episodes.append(episode(agents, stages, rewards, draw(st.sampled_from(Stop))))
    longest = max(len(e.turns) for e in episodes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return Case(episodes, gamma, rng.normal(size=(len(episodes), longest + 1, len(agents))), lam)


class Step(NamedTuple):
    """What one step of a chain of decisions brings; `round` is when it begins."""

    round: int
    value: float
    rewards: list[tuple[int, float]]  # (round, reward) paid before the next step


def lambda_return(steps: Sequence[Step], j: int, end: tuple[int, float], gamma: float, lam: float) -> float:
    """The mean of all n-step returns from step j, (1 - lambda) lambda^(n-1) of the n-step one, the rest of the last."""
    start = steps[j].round
    returns = []
    for n in range(1, len(steps) - j + 1):
        paid = sum(gamma ** (at - start) * r for step in steps[j : j + n] for at, r in step.rewards)
        at, value = (steps[j + n].round, steps[j + n].value) if j + n < len(steps) else end
        returns.append(paid + gamma ** (at - start) * value)
    weights = [(1 - lam) * lam**n for n in range(len(returns) - 1)] + [lam ** (len(returns) - 1)]
    return sum(w * r for w, r in zip(weights, returns, strict=True))


def brute(case: Case, e: int, i: int, cuts: Callable[[Episode, int], list[int]]) -> dict[int, tuple[float, float]]:
    """Advantage and target of agent i at the decisions that begin a step."""
    played = case.episodes[e]
    rounds = [turn.stage for turn in played.turns]
    begins = cuts(played, i)
    if not begins:
        return {}
    steps = []
    for first, stop in zip(begins, [*begins[1:], len(rounds)], strict=True):
        paid = [(rounds[k], played.rewards[k][i]) for k in range(first, stop)]
        steps.append(Step(rounds[first], float(case.values[e, first, i]), paid))
    last = 0.0 if played.stop is Stop.TERMINATED else float(case.values[e, len(rounds), i])
    result = {}
    for j, (first, step) in enumerate(zip(begins, steps, strict=True)):
        target = lambda_return(steps, j, (rounds[-1] + 1, last), case.gamma, case.lam)
        result[first] = (target - step.value, target)
    return result


def every_decision(played: Episode, i: int) -> list[int]:
    return list(range(len(played.turns)))


def every_stage(played: Episode, i: int) -> list[int]:
    rounds = [turn.stage for turn in played.turns]
    return [k for k in range(len(rounds)) if k == 0 or rounds[k] != rounds[k - 1]]


def own_decisions(played: Episode, i: int) -> list[int]:
    return [k for k, turn in enumerate(played.turns) if turn.agent == played.agents[i]]


def stage_of(played: Episode, k: int) -> int:
    return max(first for first in every_stage(played, 0) if first <= k)


@given(cases(), st.floats(0, 1))
def test_sharing_rewards_mixes_in_the_mean_and_keeps_the_sum(case: Case, share: float) -> None:
    own, shared = case.arrays.rewards, episode_arrays(case.episodes, case.gamma, share).rewards
    size = own.shape[-1]
    for i in range(size):
        mean = sum(own[..., j] for j in range(size)) / size
        assert shared[..., i] == pytest.approx((1 - share) * own[..., i] + share * mean, abs=1e-9)
    assert shared.sum(-1) == pytest.approx(own.sum(-1), abs=1e-9)


@given(cases())
def test_sequential_credit_is_its_definition(case: Case) -> None:
    check(case, sequential(case.arrays, case.values, case.lam), every_decision, lambda played, k: k)


@given(cases())
def test_team_credit_is_its_definition(case: Case) -> None:
    check(case, team(case.arrays, case.values, case.lam), every_stage, stage_of)


@given(cases())
def test_individual_credit_is_its_definition(case: Case) -> None:
    check(case, individual(case.arrays, case.values, case.lam), own_decisions, lambda played, k: k)


@given(cases())
def test_monte_carlo_credit_is_its_definition(case: Case) -> None:
    whole = case._replace(lam=1.0)
    check(whole, monte_carlo(case.arrays, case.values, case.lam), every_decision, lambda played, k: k)


def check(
    case: Case, found: Any, cuts: Callable[[Episode, int], list[int]], base: Callable[[Episode, int], int]
) -> None:
    longest = case.values.shape[1] - 1
    assert found.advantage.shape == (len(case.episodes), longest)
    for e, played in enumerate(case.episodes):
        for k, turn in enumerate(played.turns):
            i = played.agents.index(turn.agent)
            advantage, _ = brute(case, e, i, cuts)[base(played, k)]
            assert found.advantage[e, k] == pytest.approx(advantage, abs=1e-9)
            for j in range(len(played.agents)):
                expected = brute(case, e, j, cuts).get(base(played, k))
                if expected is None:
                    assert np.isnan(found.target[e, k, j])
                else:
                    assert found.target[e, k, j] == pytest.approx(expected[1], abs=1e-9)
        assert np.isnan(found.advantage[e, len(played.turns) :]).all()
        assert np.isnan(found.target[e, len(played.turns) :]).all()


@given(cases(), st.sampled_from(sorted(ESTIMATORS)))
def test_what_is_padding_has_no_influence(case: Case, name: str) -> None:
    together = ESTIMATORS[name](case.arrays, case.values, case.lam)
    for e, played in enumerate(case.episodes):
        count = len(played.turns)
        alone = ESTIMATORS[name](episode_arrays([played], case.gamma), case.values[e : e + 1, : count + 1], case.lam)
        np.testing.assert_allclose(together.advantage[e, :count], alone.advantage[0], atol=1e-12)
        np.testing.assert_allclose(together.target[e, :count], alone.target[0], atol=1e-12)


@given(cases(), st.sampled_from(sorted(ESTIMATORS)), st.permutations(range(3)))
def test_who_is_called_what_makes_no_difference(case: Case, name: str, order: list[int]) -> None:
    """The same game with the seats listed in another order gives the same credit in that order."""
    order = [i for i in order if i < len(case.episodes[0].agents)]
    renamed = [
        Episode(
            e.log,
            tuple(e.agents[i] for i in order),
            e.turns,
            tuple(tuple(r[i] for i in order) for r in e.rewards),
            e.stop,
        )
        for e in case.episodes
    ]
    there = ESTIMATORS[name](case.arrays, case.values, case.lam)
    here = ESTIMATORS[name](episode_arrays(renamed, case.gamma), case.values[..., order], case.lam)
    np.testing.assert_array_equal(here.advantage, there.advantage)
    np.testing.assert_array_equal(here.target, there.target[..., order])


@given(cases())
def test_credit_of_those_who_move_at_once_adds_up_to_the_joint_advantage(case: Case) -> None:
    """For any values and lambda = 0: the multi-agent advantage decomposition. One value for all agents, one reward."""
    shared = np.repeat(case.values[..., :1], case.values.shape[2], 2)
    rewards = np.broadcast_to(case.arrays.rewards[..., :1], case.arrays.rewards.shape)
    arrays = replace(case.arrays, rewards=rewards)
    own, joint = sequential(arrays, shared, 0.0).advantage, team(arrays, shared, 0.0).advantage
    for e, played in enumerate(case.episodes):
        for first in every_stage(played, 0):
            movers = [k for k, turn in enumerate(played.turns) if turn.stage == played.turns[first].stage]
            assert own[e, movers].sum() == pytest.approx(joint[e, first], abs=1e-9)
            assert np.ptp(joint[e, movers]) == 0  # all who move at once share it


@given(cases())
def test_lambda_zero_is_one_step_and_lambda_one_the_whole_return(case: Case) -> None:
    arrays, values = case.arrays, case.values
    short, whole = sequential(arrays, values, 0.0), sequential(arrays, values, 1.0)
    for e, played in enumerate(case.episodes):
        final = values[e, len(played.turns)] * (played.stop is not Stop.TERMINATED)
        for k, turn in enumerate(played.turns):
            i = played.agents.index(turn.agent)
            over = k + 1 == len(played.turns)
            gap = 1 if over else played.turns[k + 1].stage - turn.stage
            follows = final[i] if over else values[e, k + 1, i]
            step = played.rewards[k][i] + case.gamma**gap * follows - values[e, k, i]
            assert short.advantage[e, k] == pytest.approx(step, abs=1e-9)
            ahead = [(later.stage, played.rewards[n][i]) for n, later in enumerate(played.turns) if n >= k]
            ahead.append((played.turns[-1].stage + 1, float(final[i])))
            returned = sum(case.gamma ** (at - turn.stage) * r for at, r in ahead)
            assert whole.target[e, k, i] == pytest.approx(returned, abs=1e-9)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("players", [1, 2, 3])
def test_gamma_is_paid_once_a_round_however_many_play(name: str, players: int) -> None:
    agents = AGENTS[:players]
    rewards = [[0.0] * players] * (3 * players - 1) + [[1.0] * players]
    played = episode(agents, [(n, agents) for n in range(3)], rewards, Stop.TERMINATED)
    credit = ESTIMATORS[name](episode_arrays([played], 0.5), np.zeros((1, 3 * players + 1, players)), 1.0)
    assert credit.advantage[0].tolist() == [0.25] * players + [0.5] * players + [1.0] * players


def test_gamma_may_be_paid_for_simulated_seconds() -> None:
    here = worlds.world(**worlds.WORLDS["repeated matrix"])
    for one in worlds.played(here, dict.fromkeys(here.agents, Random()), 4):
        discount = episode_arrays([one], 0.5, per="second").discount[0]
        times = [one.log.entries[turn.seq].envelope.time for turn in one.turns]
        assert len(set(times)) == 4, "replies of one stage are stamped together"
        assert discount.tolist() == pytest.approx([*(0.5 ** (b - a) for a, b in pairwise(times)), 0.0])


@pytest.mark.parametrize("name", ESTIMATORS)
def test_terminated_is_not_truncated(name: str) -> None:
    values = np.array([[[0.0], [8.0]]])
    for stop, expected in ((Stop.TERMINATED, 1.0), (Stop.TRUNCATED, 5.0), (Stop.ERROR, 5.0)):
        played = episode(("a_0",), [(0, ("a_0",))], [[1.0]], stop)
        assert ESTIMATORS[name](episode_arrays([played], 0.5), values, 0.9).advantage.tolist() == [[expected]]


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(-5, 5)), min_size=1, max_size=12))
def test_normalising_is_done_for_each_agent_alone(numbers: list[tuple[int, float]]) -> None:
    actor = np.array([[i for i, _ in numbers] + [-1, -1]])
    advantage = np.array([[x for _, x in numbers] + [np.nan, np.nan]])
    before = advantage.copy()
    normalised = normalise(advantage, actor, 3)
    np.testing.assert_array_equal(advantage, before)
    assert np.isnan(normalised[0, -2:]).all()
    for i in range(3):
        own = actor[0] == i
        group = before[0][own]
        if not own.any():
            continue
        if group.std() < 1e-6:
            np.testing.assert_allclose(normalised[0][own], 0, atol=1e-3 + abs(group).max())
            continue
        np.testing.assert_allclose(normalised[0][own], (group - group.mean()) / group.std(), atol=1e-9)


def test_a_group_without_variance_gives_nothing_to_learn() -> None:
    actor = np.array([[0, 1, 0, 1]])
    assert normalise(np.array([[7.0, 1.0, 7.0, 3.0]]), actor, 2).tolist() == [[0.0, -1.0, 0.0, 1.0]]
    assert normalise(np.array([[0.1 + 0.2, 0.0, 0.3, 0.0]]), actor, 2).tolist() == [[0.0] * 4]
