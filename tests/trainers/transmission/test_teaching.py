"""Teaching a language: imitation learns what is shown, fresh learners understand a code, generations hand it on."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from marl.errors import UserError
from marl.inference.server import PolicyServer
from marl.policy.base import Policy
from marl.policy.scripted import Random, Scripted
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.rundir.folder import RunDir
from marl.rundir.load import Trained
from marl.settings import check
from marl.study.generations import language_measures
from protocols.log import load
from tests.marl.worlds import lm_for, world
from trainers.population.newcomers import Newcomers, NewcomersConfig
from trainers.run import Run
from trainers.run_config import RunConfig
from trainers.transmission.drift import drift
from trainers.transmission.generations import Generation, iterate
from trainers.transmission.imitation import imitate, lessons
from trainers.transmission.teaching import Teaching, chosen, teach

CODE: Mapping[str, Policy] = {
    "sender_0": Scripted(lambda heard, spec: f"m{(int(heard[-1].body[-1]) + 1) % 4}"),
    "receiver_0": Scripted(lambda heard, spec: f"s{(int(heard[-2].body[-1]) - 1) % 4}"),
}


def test_imitation_learns_the_replies_of_a_script_and_only_those_of_its_seats() -> None:
    here = world("lewis")
    shown = collect(here, [Plan(f"e{case}", CODE, 1, {"case": case}) for case in range(4)])
    lm = lm_for(here, seed=3)
    batch = lessons(lm, shown, ["sender_0"])
    assert (len(batch.ids), batch.tokens) == (4, 4)  # one symbol each; its end is forced and nothing to learn
    first = imitate(lm, batch, steps=1, seed=1)
    last = imitate(lm, batch, steps=150, seed=1)
    assert last < 0.05 < first
    seats = {**CODE, "sender_0": PolicyServer(lm, "pupil")}
    played = collect(here, [Plan(f"e{case}", seats, 1, {"case": case}, greedy=True) for case in range(4)])
    assert [episode.score for episode in played] == [1.0] * 4


def test_illegal_replies_are_no_lesson() -> None:
    here = world("lewis")
    seats = {**CODE, "sender_0": Scripted(lambda heard, spec: "nonsense")}
    shown = collect(here, [Plan("e", seats, 1, {"case": 1})])
    lm = lm_for(here, seed=3)
    before = [weight.clone() for weight in lm.model.parameters()]
    batch = lessons(lm, shown, ["sender_0"])
    assert batch.tokens == 0
    assert isnan(imitate(lm, batch, steps=5, seed=1))
    assert all(torch.equal(a, b) for a, b in zip(before, lm.model.parameters(), strict=True))


def test_drift_is_nothing_from_oneself_and_grows_with_what_was_learned() -> None:
    here = world("lewis")
    shown = collect(here, [Plan(f"e{case}", CODE, 1, {"case": case}) for case in range(4)])
    reference, lm = lm_for(here, seed=3), lm_for(here, seed=3)
    before = drift(lm, reference, shown, ["sender_0"])
    assert before["reference KL"].value == pytest.approx(0, abs=1e-9)
    assert before["reference KL"].n == 4
    imitate(lm, lessons(lm, shown, ["sender_0"]), steps=150, seed=1)
    after = drift(lm, reference, shown, ["sender_0"])
    assert after["reference NLL"].value == pytest.approx(before["reference NLL"].value)  # the messages are the same
    assert after["reference KL"].value == pytest.approx(after["reference NLL"].value, rel=0.1)  # pi is nearly certain
    assert drift(lm, reference, shown, ["receiver_0"])["reference KL"].undefined == "no message was a choice"
    with pytest.raises(UserError, match="other tokens"):
        drift(lm, lm_for(world("lewis", arena={"n": 3})), shown, ["sender_0"])


def run(seats: Mapping[str, Policy], tmp_path: Path) -> Trained:
    folder = RunDir(tmp_path)
    folder.config.write_text("[policy]\nwidth = 32\nlayers = 1\n")
    return Trained(folder, world("lewis"), seats, version=1, seed=0)


def test_a_fresh_listener_learns_a_code_and_nobody_learns_from_noise(tmp_path: Path) -> None:
    found = teach(run(CODE, tmp_path), "receiver_0", steps=60, every=20, learners=2)
    assert found.steps == [0, 20, 40, 60]
    assert found.own == 1
    assert [row[-1] for row in found.scores] == [1.0, 1.0]
    assert found.third_party.value == 0
    assert found.ease.value is not None
    assert 0.3 < found.ease.value < 1
    assert found.quickness.value in (20, 40, 60)
    random = teach(run({**CODE, "sender_0": Random()}, tmp_path), "receiver_0", steps=20, every=20, learners=1)
    assert Teaching.model_validate_json(random.model_dump_json()) == random


def test_who_is_taught_a_part_of_the_deals_does_not_know_the_others(tmp_path: Path) -> None:
    found = teach(run(CODE, tmp_path), "sender_0", steps=60, every=60, share=0.5, learners=1)
    assert found.scores[0][-1] <= 0.75
    assert found.third_party.value is not None
    assert found.third_party.value >= 0.25


def test_lessons_are_chosen_deal_by_deal() -> None:
    here = world("lewis")
    shown = collect(here, [Plan(f"e{i}", CODE, 1, {"case": i % 4}) for i in range(8)])
    half = chosen(shown, 0.5, seed=1)
    assert len(half) == 4
    assert len({episode.log.deal["case"] for episode in half}) == 2
    assert len(chosen(shown, 0.01, seed=1)) == 2


def test_what_cannot_be_taught_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no seat 'nobody'; the seats are sender_0, receiver_0"):
        teach(run(CODE, tmp_path), "nobody")
    with pytest.raises(UserError, match="above 0 and at most 1, not 0"):
        teach(run(CODE, tmp_path), "sender_0", share=0)
    pretrained = run(CODE, tmp_path)
    pretrained.dir.config.write_text('[policy]\nhf = "smollm2"\n')
    with pytest.raises(UserError, match="teaching is for policies from scratch"):
        teach(pretrained, "sender_0", steps=1)


def iterated(config: RunConfig, **options: Any) -> list[Generation]:
    return iterate(config, measure=language_measures, **options)


def small(out: Path, **more: Any) -> RunConfig:
    settings = {
        "scenario": {"arena": {"name": "lewis", "n": 3, "k": 3}},
        "out": str(out),
        "updates": 2,
        "episodes": 32,
        "policy": {"width": 16, "layers": 1, "heads": 2},
        "algorithm": {"critic_width": 16, "critic_layers": 1},
    }
    return check(RunConfig, settings | more, "test")


def test_generations_are_runs_that_begin_where_their_parents_were(tmp_path: Path) -> None:
    found = iterated(small(tmp_path), generations=3, bottleneck=3, steps=120)
    assert [generation.number for generation in found] == [0, 1, 2]
    assert found[0].pupils.value is None
    for parents, generation in pairwise(found):
        assert RunDir(Path(generation.folder)).finished
        assert generation.pupils.value == pytest.approx(parents.measures["score"].value, abs=0.35)
        assert generation.measures["stability"].value is not None
    logs = {path.name: list(load(path / "logs" / "eval.jsonl.gz")) for path in sorted(tmp_path.glob("generation-*"))}
    assert {log.seed for log in logs["generation-2"]} != {log.seed for log in logs["generation-1"]}
    again = iterated(small(tmp_path), generations=3, bottleneck=3, steps=120)
    assert again == found
    with pytest.raises(UserError, match="holds generations with a bottleneck of 3 and 120 steps"):
        iterated(small(tmp_path), generations=3, bottleneck=2, steps=120)
    (tmp_path / "generations.json").unlink()
    (_, forgotten) = iterated(small(tmp_path), generations=2, bottleneck=3, steps=120)
    assert forgotten.pupils.undefined == "it was not noted when it had its lessons"
    with pytest.raises(UserError, match="generation-0 holds another run"):
        iterated(small(tmp_path, episodes=16), generations=2, bottleneck=3, steps=120)
    with pytest.raises(UserError, match="bottleneck=0"):
        iterated(small(tmp_path), bottleneck=0)


def test_newcomers_come_in_turn_and_forget_all(tmp_path: Path) -> None:
    made = Run(small(tmp_path, newcomers={"every": 2}, updates=4))
    names = list(made.trainer.policies)

    def weights() -> list[np.ndarray[Any, Any]]:
        return [made.trainer.policies[name].model.lm_head.weight.detach().numpy().copy() for name in names]

    assert made.newcomers is not None
    before = weights()
    for update, moved in ((1, None), (2, 0), (3, None), (4, 1), (6, 0)):
        assert made.newcomers.arrive(update) == {"newcomers": update // 2}
        after = weights()
        assert [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)] == [i == moved for i in (0, 1)]
        before = after
    summary = made.train()
    rows = RunDir(tmp_path).read_metrics()
    assert [row["newcomers"] for row in rows] == [0, 1, 1, 2]
    assert summary["updates"] == 4
    with pytest.raises(UserError, match="no policy 'nobody'"):
        Newcomers(
            NewcomersConfig(every=1, policies=("nobody",)), 1, made.trainer, lambda seed: made.trainer.policies["x"]
        )
