"""Environments of PettingZoo as arenas: sound, the same games, and one sentence for what cannot be."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from pettingzoo import ParallelEnv

import arenas
from arenas import ArenaError
from arenas.bridges import pettingzoo as bridge
from arenas.testing.suite import check_arena

MPE = ("simple_speaker_listener_v4", "simple_reference_v3", "simple_spread_v3", "simple_world_comm_v3")
CLASSIC = ("tictactoe_v3", "connect_four_v3", "rps_v2", "leduc_holdem_v4")


def short(name: str) -> dict[str, Any]:
    """Return parameters that keep an episode short."""
    return {"max_cycles": 3} if "mpe2" in name or "rps" in name else {}


@pytest.fixture(params=[*(f"mpe2.{name}" for name in MPE), *(f"classic.{name}" for name in CLASSIC)])
def game(request: pytest.FixtureRequest) -> str:
    pytest.importorskip("mpe2" if "mpe2" in request.param else "rlcard", reason="the library is not installed")
    return str(request.param)


def test_they_are_sound(game: str) -> None:
    check_arena(lambda: arenas.make(f"pettingzoo:{game}", **short(game)))


def played(arena: arenas.Arena, seed: int) -> Iterator[tuple[dict[str, int], dict[str, float]]]:
    """Play random legal replies; yield the environment's own actions of each stage and what it paid."""
    draws = np.random.default_rng(seed)
    arena.begin(seed)
    while True:
        specs = {agent: arena.spec(agent) for agent in arena.acting()}
        replies = {agent: spec.words(int(draws.integers(spec.size))) for agent, spec in specs.items()}
        outcome = arena.advance(replies)
        yield {agent: arena.replies[agent][0].index(words) for agent, words in replies.items()}, dict(outcome.rewards)
        if outcome.done:
            return


def test_an_episode_pays_what_the_environment_pays_by_itself(game: str) -> None:
    """The reward of `last()`, summed over an agent's turns, is what the arena paid it."""
    arena = arenas.make(f"pettingzoo:{game}", **short(game))
    assert isinstance(arena, bridge.PettingZoo)
    for seed in range(5):
        stages = list(played(arena, seed))
        actions = [number for joint, _ in stages for number in joint.values()]
        environment = arena.about if hasattr(arena.about, "agent_iter") else aec(game)
        environment.reset(seed=arena._seed)
        returns = dict.fromkeys(environment.possible_agents, 0.0)
        for agent in environment.agent_iter():
            _, reward, terminated, truncated, _ = environment.last()
            returns[agent] += reward
            environment.step(None if terminated or truncated else actions.pop(0))
        assert not actions
        for agent, total in returns.items():
            assert sum(paid.get(agent, 0.0) for _, paid in stages) == pytest.approx(total, abs=1e-5)


def aec(game: str) -> Any:
    package, _, name = game.partition(".")
    module = __import__(f"{bridge.PACKAGES[package][0]}.{name}", fromlist=["env"])
    return module.env(**short(game))


def test_only_legal_moves_are_offered() -> None:
    pytest.importorskip("pygame", reason="PettingZoo's classic games are not installed")
    arena = arenas.make("pettingzoo:classic.tictactoe_v3")
    arena.begin(1)
    for taken in range(9):
        options = arena.spec(arena.acting()[0]).alphabet
        assert len(options) == 9 - taken
        if arena.advance({arena.acting()[0]: options[:1]}).done:
            break
        assert options[0] not in arena.spec(arena.acting()[0]).alphabet


def test_moves_and_messages_of_mpe_have_names() -> None:
    pytest.importorskip("mpe2", reason="mpe2 is not installed")
    for name in MPE:
        arena = arenas.make(f"pettingzoo:mpe2.{name}")
        assert isinstance(arena, bridge.PettingZoo)
        world = arena.about.unwrapped.world
        for agent in world.agents:
            places = arena.replies[agent.name][0].steps
            moves = [bridge.MOVES] if agent.movable else []
            says = [] if agent.silent else [tuple(f"say{i}" for i in range(world.dim_c))]
            assert list(places) == says + moves


def test_a_listener_of_mpe_moves_as_it_was_told() -> None:
    pytest.importorskip("mpe2", reason="mpe2 is not installed")
    arena = arenas.make("pettingzoo:mpe2.simple_speaker_listener_v4")
    arena.begin(3)
    for move, place, sign in (("left", 0, -1), ("up", 1, 1)):
        before = float(arena.view("listener_0").split()[place])
        arena.advance({"speaker_0": ("say1",), "listener_0": (move,)})
        assert sign * (float(arena.view("listener_0").split()[place]) - before) > 0
        assert arena.view("listener_0").split()[-3:] == ["0", "1", "0"]  # what it hears


class Counter(ParallelEnv):  # type: ignore[misc]
    """Both add to a count, which one sees as a dict, one as a number; at 4 counter_1 is out, then all."""

    metadata = {"name": "counter_v0", "render_modes": []}  # noqa: RUF012

    def __init__(self, observed: spaces.Space[Any] | None = None, acted: spaces.Space[Any] | None = None) -> None:
        self.possible_agents = ["counter_0", "counter_1"]
        parts = spaces.Dict({"count": spaces.Discrete(99), "parity": spaces.MultiBinary(1)})
        self.observation_spaces = {"counter_0": parts, "counter_1": observed or spaces.Box(0, 99, (1,), np.int64)}
        self.action_spaces = {
            "counter_0": spaces.MultiDiscrete([2, 2]),
            "counter_1": acted or spaces.Discrete(2, start=1),
        }

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        return self.action_spaces[agent]

    def _seen(self) -> dict[str, Any]:
        both = {"count": self.count, "parity": np.array([self.count % 2])}, np.array([self.count])
        return {agent: seen for agent, seen in zip(self.possible_agents, both, strict=True) if agent in self.agents}

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        self.agents, self.count = list(self.possible_agents), (seed or 0) % 2
        return self._seen(), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, Any]) -> Any:
        assert actions.keys() == set(self.agents)
        self.count += sum(int(np.sum(action)) for action in actions.values())
        seen, paid = self._seen(), dict.fromkeys(self.agents, 1.0)
        out = {agent: self.count >= (9 if agent == "counter_0" else 4) for agent in self.agents}
        late = {agent: self.count >= 12 and not out[agent] for agent in self.agents}
        self.agents = [agent for agent in self.agents if not out[agent]]
        return seen, paid, out, late, {agent: {} for agent in out}


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(bridge, "_OWN", {})
    bridge.register("counter", Counter)
    return "pettingzoo:counter"


def test_your_own_environment_with_agents_that_leave(counter: str) -> None:
    arena = arenas.make(counter)
    arena.begin(2)
    start = int(arena.view("counter_1"))
    assert arena.view("counter_0") == f"count {start} parity {start}"
    assert [spec.describe() for (spec,) in arena.replies.values()] == ["moves 2 of: 0 1", "moves 1 of: 1 2"]
    outcome = arena.advance({"counter_0": ("1", "1"), "counter_1": ("2",)})
    assert (outcome.rewards, outcome.done) == ({"counter_0": 1.0, "counter_1": 1.0}, False)
    assert arena.acting() == ("counter_0",)
    assert arena.hidden().split()[-2:] == ["counter_1", str(start + 4)]
    while not outcome.done:
        outcome = arena.advance({"counter_0": ("1", "1")})
    assert not outcome.truncated
    assert arena.anchors().silent is arena.anchors().full is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"observed": spaces.Text(9)}, r"observations of Text\(.*\) cannot be written as words: Discrete, .* of these"),
        ({"acted": spaces.Box(0, 1)}, r"actions of pettingzoo:counter are Box\(.*: replies need Discrete or a row of"),
        ({"bins": 1}, "pettingzoo:counter needs bins >= 2 and limit > 0, not bins=1, limit=2.0"),
        ({"limit": 0}, "not bins=41, limit=0"),
        ({"players": 3}, "arena pettingzoo:counter: got an unexpected keyword argument 'players'; it takes observed, "),
    ],
)
def test_what_cannot_be_is_one_sentence(counter: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArenaError, match=message):
        arenas.make(counter, **options)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gym:CartPole", "no library 'gym' of games: there are openspiel, pettingzoo, textarena"),
        ("pettingzoo:os.path", "no environment pettingzoo:os.path: it is mpe2.NAME, classic.NAME, .* or what you gave"),
        ("pettingzoo:mpe2", "no environment pettingzoo:mpe2: it is mpe2.NAME"),
        ("pettingzoo:", "no environment pettingzoo:: it is"),
        ("pettingzoo:classic.all_modules", "no environment 'all_modules' in pettingzoo.classic: there are chess_v6, "),
        ("pettingzoo:classic.rlcard_envs.leduc_holdem", "no environment 'rlcard_envs.leduc_holdem' in pettingzoo"),
    ],
)
def test_names_that_are_not_listed_are_not_imported(name: str, message: str) -> None:
    with pytest.raises(ArenaError, match=message):
        arenas.make(name)


def test_continuous_actions_of_mpe_say_how_to_fix_it() -> None:
    pytest.importorskip("mpe2", reason="mpe2 is not installed")
    with pytest.raises(ArenaError, match=r"an environment that can act discretely takes continuous_actions=false$"):
        arenas.make("pettingzoo:mpe2.simple_v3", continuous_actions=True)


def test_a_library_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpe2", None)
    with pytest.raises(ArenaError, match=r"this game needs the package mpe2: pip install 'sabir\[mpe2\]'"):
        arenas.make("pettingzoo:mpe2.simple_v3")
    assert "sabir[mpe2]" in bridge.games()["mpe2"]


def test_arenas_import_no_library_of_games() -> None:
    libraries = {"mpe2", "rlcard", "pyspiel", "textarena", "pygame", "nltk"}
    program = f"import sys, arenas, arenas.testing; print(*{libraries!r}.intersection(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""
