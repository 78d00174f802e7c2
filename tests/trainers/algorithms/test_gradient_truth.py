"""The expected policy gradient of the real pipeline is the gradient of the expected return.

The games are so small that every possible episode can be played out. The pipeline (collect, critic, credit, batch,
loss, backward) gives a gradient for each of them; weighted with their exact probabilities these add up to the gradient
that autograd finds for J = sum over outcomes of probability times return.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any, Final

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from marl.context.transcript import BOS, EOS, PROMPT
from marl.credit.arrays import EpisodeArrays
from marl.episode import Episode
from marl.models.language_model import LanguageModel
from marl.scenario.world import World
from tests.marl.worlds import played, seated, world
from tests.trainers.games import Noting, gradient, policies, trainer

GAMES: Final[dict[str, dict[str, Any]]] = {
    "common payoff": {"name": "matrix", "arena": {"payoffs": [[[1, 1], [0, 0]], [[0, 0], [2, 2]]]}},
    "own payoffs": {"name": "matrix", "arena": {"payoffs": [[[1, -1], [0, 3]], [[4, 0], [2, 1]]]}},
    "two rounds": {"name": "matrix", "arena": {"payoffs": [[[1, -1], [0, 3]], [[4, 0], [2, 1]]], "rounds": 2}},
    "lewis": {"name": "lewis", "arena": {"n": 2, "k": 2}},
}
Table = NDArray[np.float64]


class Told(Noting):
    """May be told the values instead of asking a critic."""

    table: Table | None = None

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        asked = self.assignment.values

        def values(episodes: Sequence[Episode], arrays: EpisodeArrays, update: int) -> Any:
            return asked(episodes, arrays, update) if self.table is None else (self.table, None)

        self.assignment.values = values  # type: ignore[method-assign]


def contexts(episode: Episode) -> list[str]:
    """What the agent of each turn had before it, written down by hand."""
    said = [turn.sample.text for turn in episode.turns]
    if "lewis" in str(episode.log.scenario):
        return [
            f"{BOS} {episode.log.entries[0].envelope.body} {PROMPT}",
            f"{BOS} sender_0 : {said[0]} which {PROMPT}",
        ]
    first = f"{BOS} round t0 {PROMPT}"
    if len(said) == 2:
        return [first, first]
    second = [f"{first} {said[i]} {EOS} round t1 last {said[i]} {said[1 - i]} {PROMPT}" for i in range(2)]
    return [first, first, *second]


def turn_logp(lm: LanguageModel, context: str, episode: Episode, k: int) -> Tensor:
    """log pi of one turn, with gradients."""
    turn = episode.turns[k]
    before = lm.encode(context)
    ids = torch.tensor([[*before, *turn.sample.tokens]])
    trained = torch.zeros_like(ids, dtype=torch.bool)
    trained[0, len(before) :] = True
    return lm.score(ids, trained, torch.tensor(lm.grammar(turn.spec)[: len(turn.sample.tokens)])).logp.sum()


class Game:
    """All outcomes of a game under given policies, one episode of each, with probabilities and the true gradient."""

    def __init__(self, name: str, sharing: str) -> None:
        self.world: World = world(**GAMES[name])
        agents = self.world.agents
        count = 1 if sharing == "shared" else 2
        self.policies = policies(self.world, count, init=0.15, seed=2)
        self.seats = {agent: f"p{i % count}" for i, agent in enumerate(agents)}
        self.outcomes: dict[tuple[str, ...], Episode] = {}
        for episode in played(self.world, seated(self.world, *self.policies.values()), 1000):
            hidden = episode.log.entries[0].envelope.body
            self.outcomes.setdefault((hidden, *(turn.sample.text for turn in episode.turns)), episode)
        cases = self.world.arena.cases
        expected = cases * prod(turn.spec.size for turn in episode.turns)
        assert len(self.outcomes) == expected, "some outcome never occurred: play more episodes"
        self.logp = {
            key: [
                turn_logp(self.policies[self.seats[turn.agent]], context, e, k)
                for k, (turn, context) in enumerate(zip(e.turns, contexts(e), strict=True))
            ]
            for key, e in self.outcomes.items()
        }
        self.p = {key: float(torch.stack(logp).sum().detach().exp()) / cases for key, logp in self.logp.items()}
        assert sum(self.p.values()) == pytest.approx(1, abs=1e-5)

    def truth(self) -> dict[str, Tensor]:
        """The gradient of each agent's expected return in its own policy; one that is shared gets the sum."""
        total = torch.zeros(())
        for key, episode in self.outcomes.items():
            for agent, returned in zip(episode.agents, episode.returns, strict=True):
                own = torch.stack(
                    [logp for logp, turn in zip(self.logp[key], episode.turns, strict=True) if turn.agent == agent]
                ).sum()
                total = total + returned * (self.p[key] / own.detach().exp()) * own.exp()
        total.backward(retain_graph=True)  # type: ignore[no-untyped-call]
        return {name: gradient(lm) for name, lm in self.policies.items()}

    def pipeline(self, told: Told, tables: Mapping[tuple[str, ...], Table] | None = None) -> dict[str, Tensor]:
        """The expectation of what training would do."""
        total = {name: torch.zeros(()) for name in self.policies}
        for key, episode in self.outcomes.items():
            told.table = None if tables is None else tables[key]
            told.update([episode])
            for name in self.policies:
                tokens = sum(
                    self.seats[turn.agent] == name for turn in episode.turns
                )  # one word each, its end is certain
                total[name] = total[name] - self.p[key] * tokens * told.noted[name][-1]
        return total

    def exact_values(self) -> dict[tuple[str, ...], Table]:
        """V_i before each decision: the mean of what is still to come, over all outcomes that begin alike."""
        tables = {}
        for key, episode in self.outcomes.items():
            table = np.zeros((1, len(episode.turns) + 1, 2))
            for k in range(len(episode.turns)):
                alike = [other for other in self.outcomes if other[: k + 1] == key[: k + 1]]
                weights = np.array([self.p[other] for other in alike])
                ahead = [np.sum(self.outcomes[other].rewards[k:], 0) for other in alike]
                table[0, k] = weights @ np.array(ahead) / weights.sum()
            tables[key] = table
        return tables

    def trainer(self, **settings: Any) -> Told:
        learner = trainer(self.world, self.policies, Told, normalise=False, **settings)
        assert isinstance(learner, Told)
        return learner


def agree(found: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> None:
    for name, exact in truth.items():
        assert float(exact.norm()) > 1e-3
        assert float((found[name] - exact).norm() / exact.norm()) < 5e-5, name


PLAYED: Final = (
    ("common payoff", "separate"),
    ("own payoffs", "separate"),
    ("own payoffs", "shared"),
    ("two rounds", "separate"),
    ("lewis", "shared"),
)


@pytest.fixture(scope="module", params=PLAYED, ids=", ".join)
def game(request: pytest.FixtureRequest) -> Game:
    return Game(*request.param)


@pytest.mark.parametrize("critic", ["central", "joint", "own", "none"])
@pytest.mark.parametrize("credit", ["sequential", "team", "individual", "monte_carlo"])
def test_no_critic_and_no_credit_biases_the_gradient(game: Game, critic: str, credit: str) -> None:
    """The critics have random weights: what they say is wrong, and must cancel."""
    agree(game.pipeline(game.trainer(critic=critic, credit=credit, lam=1.0)), game.truth())


@pytest.mark.parametrize("credit", ["group", "agent_turn"])
def test_baselines_from_other_episodes_do_not_bias_the_gradient(game: Game, credit: str) -> None:
    """Every pair of outcomes is an update. Prompts that follow a reply meet their like only now and then."""
    if credit == "agent_turn" and any(turn.stage for e in game.outcomes.values() for turn in e.turns):
        pytest.skip("what meets no like is not trained: the gradient is another one there")
    learner = game.trainer(critic="none", credit=credit, group=2)
    total = {name: torch.zeros(()) for name in game.policies}
    deals = {key[0] for key in game.outcomes}
    if game.world.arena.cases == 1:  # what is hidden there is the round, not a deal
        deals = {""}
    for one, first in game.outcomes.items():
        for two, second in game.outcomes.items():
            if len(deals) > 1 and one[0] != two[0]:
                continue
            pair = [dealt(first, "one"), dealt(second, "two")]
            learner.update(pair)
            for name in game.policies:
                tokens = sum(game.seats[turn.agent] == name for e in pair for turn in e.turns)
                weight = game.p[one] * game.p[two] * len(deals) * tokens / 2
                total[name] = total[name] - weight * learner.noted[name][-1]
    agree(total, game.truth())


def dealt(episode: Episode, name: str) -> Episode:
    """Return the episode under another name, in the one group there is."""
    return replace(episode, log=replace(episode.log, episode=name, deal={"like": "one"}))


def test_a_running_baseline_of_each_role_does_not_bias_the_gradient(game: Game) -> None:
    learner = game.trainer(critic="none", credit="role", role_decay=0.0)
    total = {name: torch.zeros(()) for name in game.policies}
    for key, episode in game.outcomes.items():
        learner.assignment.roles = {0: 0.4, 1: -0.7}  # as it stood before each of them
        learner.update([episode])
        assert learner.assignment.roles == dict(enumerate(episode.returns))
        for name in game.policies:
            tokens = sum(game.seats[turn.agent] == name for turn in episode.turns)
            total[name] = total[name] - game.p[key] * tokens * learner.noted[name][-1]
    agree(total, game.truth())


@pytest.mark.parametrize("settings", [{"value_norm": True}, {"ratio": "sequence"}, {"ratio": "geometric"}], ids=str)
def test_other_settings_keep_the_gradient_of_the_first_step(game: Game, settings: dict[str, Any]) -> None:
    learner = game.trainer(critic="central", credit="sequential", lam=1.0, **settings)
    learner.assignment.scale.sums = [1.0, 0.3, 2.0]
    learner.assignment.scale.observe = lambda targets: None  # type: ignore[method-assign]
    agree(game.pipeline(learner), game.truth())


@pytest.mark.parametrize("lam", [0.0, 0.5])
def test_with_true_values_any_lambda_gives_the_gradient(game: Game, lam: float) -> None:
    learner = game.trainer(critic="none", credit="sequential", lam=lam)
    agree(game.pipeline(learner, game.exact_values()), game.truth())


def test_with_wrong_values_and_lambda_zero_the_gradient_is_another_one(game: Game) -> None:
    """Or the tests above could not fail."""
    gradient = game.pipeline(game.trainer(critic="central", credit="sequential", lam=0.0))
    with pytest.raises(AssertionError):
        agree(gradient, game.truth())
