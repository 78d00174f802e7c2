"""Worlds as PettingZoo environments: channels, floors and prices are the scenario's."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import arenas
from marl.errors import UserError
from marl.rollout.collect import collect
from marl.rollout.pettingzoo_environment import AecEnvironment, ParallelEnvironment
from marl.rollout.replay import replay

ROOT = Path(__file__).parents[3]
SCENARIOS: dict[str, dict[str, Any]] = {
    "perfect": {"arena": {"name": "lewis"}},
    "disturbed": {
        "arena": {"name": "reconstruction", "values": 3, "length": 2, "alphabet": 4},
        "channel": [{"type": "price", "per_message": 0.1}, {"type": "erasure", "p": 0.3}, {"type": "loss", "p": 0.3}],
    },
    "slow": {
        "arena": {"name": "matrix", "game": "stag_hunt", "rounds": 3, "talk": 1, "alphabet": 3},
        "channel": [{"type": "delay", "seconds": 1.5}],
        "latency": {"constant": 1.0},
    },
    "private": {
        "arena": {"name": "matrix", "rounds": 2, "talk": 1, "alphabet": 2},
        "channels": {"aside": {"members": ["player_0", "player_1"]}},
        "floor": "rounds",
    },
    "free": {
        "arena": {"name": "matrix", "rounds": 2, "talk": 1, "alphabet": 2},
        "floor": {"type": "free", "limit": 3, "speaking": 0.1},
    },
    "bids": {
        "arena": {"name": "matrix", "rounds": 2, "talk": 1, "alphabet": 2},
        "floor": {"type": "free", "bids": 2, "limit": 2},
    },
    "moderated": {
        "arena": {"name": "matrix", "rounds": 2, "talk": 1, "alphabet": 2},
        "floor": {"type": "moderator", "seat": "player_1"},
    },
}
HARMLESS = (
    "Observation is not a NumPy array",
    "Observation space for each agent probably should be",
    "Agents have different observation space sizes",
    "Observation numpy array is all zeros",
    "(Observation|Action mask) is a single number",
)


@pytest.fixture(params=list(SCENARIOS))
def scenario(request: pytest.FixtureRequest) -> dict[str, Any]:
    return SCENARIOS[request.param]


def test_pettingzoo_suites(scenario: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing them may pull in optional games
        from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test, seed_test
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("error")
        for harmless in HARMLESS:
            warnings.filterwarnings("ignore", message=harmless)
        api_test(AecEnvironment(scenario, words=48), num_cycles=20)
        seed_test(lambda: AecEnvironment(scenario, words=48), num_cycles=20)
        parallel_api_test(ParallelEnvironment(scenario, words=48), num_cycles=20)
        parallel_seed_test(lambda: ParallelEnvironment(scenario, words=48), num_cycles=20)


def play(environment: ParallelEnvironment, seed: int) -> dict[str, float]:
    """Play random legal actions; return each agent's return."""
    draws = np.random.default_rng(seed)
    seen, _ = environment.reset(seed)
    returns = dict.fromkeys(environment.agents, 0.0)
    while environment.agents:
        actions = {a: int(draws.choice(np.flatnonzero(seen[a]["action_mask"]))) for a in environment.agents}
        seen, rewards, _, _, infos = environment.step(actions)
        assert not any(infos.values())
        for agent, reward in rewards.items():
            returns[agent] += reward
    return returns


def test_an_episode_is_one_of_the_referees(scenario: dict[str, Any]) -> None:
    """What was played from outside is an ordinary log: replayed, it is the same bytes, and pays the same."""
    environment = ParallelEnvironment(scenario)
    for seed in range(5):
        returns = play(environment, seed)
        episode = environment.session.episode
        assert episode is not None
        assert tuple(returns.values()) == pytest.approx(episode.returns)
        (again,) = collect(environment.world, [replay(episode.log)])
        assert again.log.to_bytes() == episode.log.to_bytes()
    environment.close()


@pytest.mark.parametrize(
    ("arena", "deals"),
    [({"name": "lewis"}, [{"case": case} for case in range(4)]), ({"name": "matrix", "rounds": 3, "talk": 2}, [{}])],
    ids=str,
)
def test_over_a_perfect_channel_it_is_the_arena_itself(arena: dict[str, Any], deals: list[dict[str, Any]]) -> None:
    ours, theirs = AecEnvironment({"arena": arena}), arenas.make(**arena)
    draws = np.random.default_rng(1)
    for deal in deals:
        ours.reset(seed=1, options=deal)
        theirs.reset(seed=1, options=deal)
        while not any(theirs.terminations.values()):
            agent = theirs.agent_selection
            assert agent == ours.agent_selection
            assert ours.observe(agent)["text"] == theirs.observe(agent)["text"]
            action = int(draws.integers(theirs.spec(agent).size))
            theirs.step(action)
            ours.step(action)
            assert (ours.rewards, ours.terminations) == (theirs.rewards, theirs.terminations)
    ours.close()


def test_channels_lose_and_price_what_is_said() -> None:
    channel = [{"type": "price", "per_message": 0.25}, {"type": "loss", "p": 1.0}]
    environment = ParallelEnvironment({"arena": {"name": "lewis"}, "channel": channel})
    seen, _ = environment.reset(1, {"case": 2})
    assert seen["sender_0"]["text"] == "state s2"
    assert seen["receiver_0"]["text"] == ""
    assert list(seen["receiver_0"]["action_mask"]) == [0, 0, 0, 0, 1]  # it can only do nothing
    assert list(seen["sender_0"]["action_mask"]) == [1, 1, 1, 1, 0]
    seen, rewards, *_ = environment.step({"sender_0": 3, "receiver_0": 4})
    assert rewards == {"sender_0": -0.25, "receiver_0": 0.0}
    assert seen["receiver_0"]["text"] == "which"
    assert environment.encode("which").tolist() == seen["receiver_0"]["observation"].tolist()
    _, rewards, over, cut, _ = environment.step({"sender_0": 4, "receiver_0": 2})
    assert rewards == {"sender_0": 1.0, "receiver_0": 1.0}
    assert (all(over.values()), any(cut.values()), environment.agents) == (True, False, [])


def test_an_action_that_is_not_legal_counts_as_none() -> None:
    environment = ParallelEnvironment({"arena": {"name": "lewis"}})
    environment.reset(1, {"case": 0})
    *_, infos = environment.step({"sender_0": 4})  # to do nothing, though it is asked
    assert infos == {"sender_0": {"illegal": True}, "receiver_0": {}}
    _, rewards, *_ = environment.step({"receiver_0": 0})
    assert rewards["receiver_0"] == 1.0


def test_delayed_messages_arrive_when_thinking_has_taken_long_enough() -> None:
    environment = ParallelEnvironment(SCENARIOS["slow"])
    nothing = int(environment.action_space("player_0").n) - 1
    seen, _ = environment.reset(1)
    heard = []
    while environment.agents:
        heard.append("player_1 :" in seen["player_0"]["text"])
        actions = {a: 0 if seen[a]["action_mask"][0] else nothing for a in environment.agents}
        seen, *_ = environment.step(actions)
    assert heard[:4] == [False, False, False, True]  # said at 1 s, there at 2.5 s, and next asked at 3 s


def test_an_episode_left_half_way_does_no_harm() -> None:
    environment = AecEnvironment({"arena": {"name": "lewis"}})
    for seed in range(3):
        environment.reset(seed)
        environment.step(0)
    environment.close()
    environment.close()


def test_it_can_be_stepped_where_a_loop_runs_already() -> None:
    """As in a notebook."""
    environment = ParallelEnvironment({"arena": {"name": "lewis"}})

    async def cell() -> dict[str, float]:
        return play(environment, 1)

    assert asyncio.run(cell()).keys() == {"sender_0", "receiver_0"}


def test_a_scenario_that_cannot_be_is_one_sentence() -> None:
    with pytest.raises(UserError, match="scenario: no arena 'lewiss': did you mean lewis"):
        ParallelEnvironment({"arena": {"name": "lewiss"}})


@pytest.mark.timeout(300)
def test_torchrl_trains_in_one() -> None:
    pytest.importorskip("torchrl", reason="TorchRL is not installed: pip install torchrl")
    example = ROOT / "examples" / "05_torchrl.py"
    ran = subprocess.run([sys.executable, example, "3"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "update 3" in ran.stdout
