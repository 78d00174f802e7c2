"""What is not finite: the remedy that fits it, and JSON that stays valid."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from marl.episode import Episode, Sample
from marl.rundir.folder import RunDir
from marl.sweep.results import read
from tests.marl.worlds import played, seated, world
from tests.trainers.games import policies, trainer
from trainers.checks import REWARDS, SAMPLES, SMALLER_STEPS, NotFiniteError, json_value, remedy

NAN, INF = float("nan"), float("inf")


def poison_rewards(learner: Any, episodes: list[Any]) -> None:
    episodes[1] = replace(episodes[1], rewards=tuple((INF,) * 3 for _ in episodes[1].rewards))


def poison_weights(learner: Any, episodes: list[Any]) -> None:
    with torch.no_grad():
        learner.policies["p0"].model.get_input_embeddings().weight[7] = INF


def resampled(episode: Episode, change: Callable[[Sample], Sample]) -> Episode:
    """The episode with other samples."""
    return replace(episode, turns=tuple(turn._replace(sample=change(turn.sample)) for turn in episode.turns))


def poison_logprobs(value: float) -> Any:
    def poison(learner: Any, episodes: list[Any]) -> None:
        episodes[1] = resampled(episodes[1], lambda s: s._replace(behavior_logprobs=(value,) * len(s.tokens)))

    return poison


def poison_tokens(learner: Any, episodes: list[Any]) -> None:
    episodes[1] = resampled(episodes[1], lambda s: s._replace(tokens=(0,) * len(s.tokens)))


@pytest.mark.parametrize(
    ("poison", "what"),
    [
        (poison_rewards, REWARDS),
        (poison_weights, SMALLER_STEPS),
        (poison_logprobs(-1e30), SAMPLES),
        (poison_logprobs(-200.0), SAMPLES),
        (poison_logprobs(NAN), SAMPLES),
        (poison_tokens, SAMPLES),
    ],
)
def test_the_remedy_fits_what_is_not_finite(poison: Any, what: str) -> None:
    here = world("chat")
    models = policies(here, 1)
    episodes = played(here, seated(here, *models.values()), 4)
    learner = trainer(here, models, critic="none", credit="monte_carlo")
    poison(learner, episodes)
    with pytest.raises(NotFiniteError, match="episode") as caught:
        learner.update(episodes)
    assert remedy(caught.value) == what


def test_the_remedy_of_an_algorithm_of_others() -> None:
    assert remedy(FloatingPointError("the loss is nan")) == SMALLER_STEPS


def test_what_json_lacks_is_null() -> None:
    row = {"a": INF, "b": [NAN, 1.5, {"c": -INF}], "d": "inf", "e": (1, True, None), "f": 0.0}
    assert json_value(row) == {"a": None, "b": [None, 1.5, {"c": None}], "d": "inf", "e": [1, True, None], "f": 0.0}
    json.dumps(json_value(row), allow_nan=False)


def test_the_divergence_of_a_stale_policy_is_a_number() -> None:
    """exp underflows where the policies are far apart, and its logarithm would be infinite."""
    here = world("chat")
    models = policies(here, 1)
    episodes = played(here, seated(here, *models.values()), 4)
    far = [resampled(e, lambda s: s._replace(behavior_logprobs=(0.0,) * len(s.tokens))) for e in episodes]
    learner = trainer(here, models, critic="none", credit="monte_carlo")
    lm = models["p0"]
    with torch.no_grad():
        lm.model.get_input_embeddings().weight.mul_(300)
    metrics = learner.update(far)
    assert math.isfinite(metrics["policy/p0/kl"])
    assert metrics["policy/p0/kl"] > 10


def test_sweeps_read_null(tmp_path: Path) -> None:
    folder = RunDir(tmp_path)
    folder.summary.write_text("{}")
    folder.append_metrics(json_value({"update": 1, "eval/score": NAN}))
    folder.append_metrics(json_value({"update": 2, "eval/score": 0.5, "policy/p0/kl": INF}))
    finished = read(folder, 1)
    assert finished is not None
    assert [row["update"] for row in finished.evaluations] == [2]
