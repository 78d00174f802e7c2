"""Evaluation plays what training never sees, and says how good that is against what is known."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from marl.episode import Episode, Stop
from marl.evaluation import evaluate
from marl.policy.base import Policy
from marl.policy.scripted import Random, Scripted
from marl.scenario.world import World
from tests.marl.worlds import lm_for, played, raw, seated, world


def random_seats(here: World) -> dict[str, Policy]:
    return dict.fromkeys(here.agents, Random())


def test_each_deal_of_each_split_is_played_once_and_greedily() -> None:
    here = world("reconstruction", arena={"values": 3, "held_out": 0.34})
    plans = evaluate.plans(here, random_seats(here), seed=1)
    splits = here.arena.splits()
    assert sorted(plan.deal["case"] for plan in plans) == sorted(case for cases in splits.values() for case in cases)
    assert all(plan.deal["case"] in splits[plan.deal["split"]] for plan in plans)
    assert all(plan.greedy for plan in plans)
    assert len({plan.episode for plan in plans}) == len(plans) == 9


LOSSES: list[dict[str, Any]] = [
    {"channel": [{"type": "loss", "p": 0.5}]},
    {"interventions": [{"type": "drop", "p": 0.5}]},
]


@pytest.mark.parametrize("losses", LOSSES, ids=str)
def test_where_messages_may_be_lost_each_deal_is_played_equally_often_and_draws_anew(losses: dict[str, Any]) -> None:
    here = world("lewis", **losses)
    plans = evaluate.plans(here, random_seats(here), seed=1, episodes=30)
    assert [plan.deal["case"] for plan in plans] == [0, 1, 2, 3] * 8
    assert len({plan.episode for plan in plans}) == len(plans)
    code = {
        "sender_0": Scripted(lambda heard, spec: f"m{heard[-1].body[-1]}"),
        "receiver_0": Scripted(lambda heard, spec: f"s{heard[0].body[-1]}" if len(heard) > 1 else "s0"),
    }
    scores = [episode.score for episode in evaluate.run(here, code, seed=1, episodes=30)]
    assert {sum(scores[i::4]) for i in (1, 2, 3)}.isdisjoint({0.0, 8.0}), "lost in some of the episodes of a deal"
    assert sum(scores[::4]) == 8.0


def test_deals_that_are_too_many_to_count_are_drawn_from_seeds_that_training_does_not_use() -> None:
    here = world("reconstruction", arena={"attributes": 4, "values": 10})
    plans = evaluate.plans(here, random_seats(here), seed=1, episodes=7)
    assert len(plans) == 7
    assert "case" not in plans[0].deal
    assert {plan.seed for plan in plans} != {1}
    assert {p.seed for p in evaluate.plans(here, random_seats(here), seed=2, episodes=7)} != {p.seed for p in plans}


def test_evaluating_twice_gives_the_same_bytes_and_disturbs_no_training() -> None:
    here = world("lewis")
    seats = seated(here, lm_for(here))
    before = raw(played(here, seats, 3))
    first = raw(evaluate.run(here, seats, 1))
    assert raw(evaluate.run(here, seats, 1)) == first
    assert raw(played(here, seats, 3)) == before


def test_nobody_succeeds_where_one_wins_what_the_other_loses() -> None:
    here = world("matrix", arena={"game": "matching_pennies"})
    figures = evaluate.summarise(here, evaluate.run(here, random_seats(here), 1))["train"]
    assert figures["score"] == 0
    assert figures["success"] is None


def test_each_seats_return_stands_beside_the_score() -> None:
    here = world("matrix", arena={"game": "prisoners_dilemma"})
    seats = {"player_0": Scripted(lambda heard, spec: "cooperate"), "player_1": Scripted(lambda heard, spec: "defect")}
    figures = evaluate.summarise(here, evaluate.run(here, seats, 1))["train"]
    assert figures["returns"] == {"player_0": 0.0, "player_1": 5.0}
    assert figures["score"] == 2.5


def lewis(answer: str) -> tuple[World, list[Episode]]:
    """The sender tells the truth about four states; the receiver believes it, or always says the same."""
    here = world("lewis")
    sender = Scripted(lambda heard, spec: "m" + heard[-1].body[-1])
    receiver = Scripted(lambda heard, spec: answer or "s" + heard[0].body[-1])
    return here, evaluate.run(here, {"sender_0": sender, "receiver_0": receiver}, 1)


@pytest.mark.parametrize(("answer", "score", "gain", "error"), [("", 1.0, 1.0, 0.0), ("s2", 0.25, 0.0, 0.25)])
def test_the_summary_of_known_play_is_known(answer: str, score: float, gain: float, error: float) -> None:
    here, episodes = lewis(answer)
    summary = evaluate.summarise(here, episodes)
    figures = summary["train"]
    assert figures["episodes"] == 4
    assert figures["score"] == figures["success"] == score
    assert figures["communication_gain"] == gain
    assert figures["standard_error"] == pytest.approx(error)
    assert summary["anchors"] == {"random": 0.25, "silent": 0.25, "full": 1.0, "equilibrium": None}
    assert summary["errors"] == 0


def test_splits_are_told_apart_and_errors_counted() -> None:
    here = world("reconstruction", arena={"values": 3, "held_out": 0.34})
    episodes = evaluate.run(here, random_seats(here), 1)
    episodes[0] = replace(episodes[0], stop=Stop.ERROR)
    summary = evaluate.summarise(here, episodes)
    assert list(summary) == ["anchors", "errors", "train", "held_out", "traffic"]
    assert list(evaluate.splits(summary)) == ["train", "held_out"]
    assert summary["errors"] == 1
    for split in ("train", "held_out"):
        scores = [e.score for e in episodes if e.log.deal["split"] == split]
        mean = sum(scores) / len(scores)
        variance = sum((score - mean) ** 2 for score in scores) / (len(scores) - 1)
        assert summary[split]["score"] == pytest.approx(mean)
        assert summary[split]["standard_error"] == pytest.approx(math.sqrt(variance / len(scores)))
        assert summary[split]["success"] == sum(score == 1 for score in scores) / len(scores)


def test_an_evaluation_can_be_limited_to_some_of_the_deals() -> None:
    here = world("lewis", arena={"n": 8, "k": 8})
    plans = evaluate.plans(here, random_seats(here), seed=1, most=3)
    cases = [plan.deal["case"] for plan in plans]
    assert len(set(cases)) == 3
    assert cases == sorted(cases)
    assert [plan.deal["case"] for plan in evaluate.plans(here, random_seats(here), seed=2, most=3)] != cases
    assert len(evaluate.plans(here, random_seats(here), seed=1, most=100)) == 8


def test_the_watcher_of_an_evaluation_is_told_how_many_episodes_are_over() -> None:
    here = world("lewis", arena={"n": 8, "k": 8})
    seen: list[tuple[int, int]] = []
    evaluate.run(here, random_seats(here), 1, watch=lambda done, total: seen.append((done, total)))
    assert seen == [(i + 1, 8) for i in range(8)]
