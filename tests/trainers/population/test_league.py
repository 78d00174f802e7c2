"""Who plays whom, and what is believed of their skill: laws that hold whatever is drawn."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from rich.console import Console

from marl.cli.console import equilibrium, standing
from marl.episode import Episode
from marl.policy.scripted import Scripted
from marl.report import report
from marl.rollout.plan import Plan
from marl.scenario.world import World
from tests.marl.worlds import one, world
from trainers.population.league import DEVIATION, DRIFT, League, LeagueConfig, Member, Rating, named, outcome

SEATS = ("a_0", "b_0", "c_0")
results = st.lists(st.tuples(st.sampled_from([0, 10, 20]), st.sampled_from([-1, 0, 1])), max_size=30)
matchmaking = st.sampled_from(["uniform", "prioritised", "latest"])


def league(versions: tuple[int, ...] = (0, 10, 20), seed: int = 1, **settings: Any) -> League:
    made = League(LeagueConfig.model_validate(settings), seed)
    for version in versions:
        made.add(version)
    return made


@given(st.integers(1, 60), st.floats(0.2, 1), st.integers(1, 3), st.integers(0, 99), matchmaking)
def test_at_least_the_share_is_against_frozen_versions_and_seats_are_swapped(
    episodes: int, share: float, count: int, version: int, how: str
) -> None:
    seats = SEATS[: count + 1] if count < 3 else SEATS
    made = league(share=share, matchmaking=how, opponents=count)
    matches = made.matches(version, episodes, seats)
    assert len(matches) == episodes
    against = [match for match in matches if match is not None]
    assert len(against) >= share * episodes - 1e-6
    assert len(against) < share * episodes + len(seats), "and hardly more"
    assert len({match.opponent for match in against}) <= count
    for first in range(0, episodes - len(seats) + 1, len(seats)):
        of_set = [match for match in matches[first : first + len(seats)] if match is not None]
        if of_set:
            assert {match.learner for match in of_set} == set(seats), "each pair plays on every seat"
            assert len({match.opponent for match in of_set}) == 1


def test_the_floor_is_part_of_the_configuration() -> None:
    with pytest.raises(ValidationError, match=r"greater than or equal to 0\.2"):
        LeagueConfig(share=0.1)


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 20))
def test_matches_depend_on_their_coordinates_alone(seed: int, version: int) -> None:
    first, second = league(seed=seed), league(seed=seed)
    second.matches(version + 1, 12, SEATS)
    assert first.matches(version, 12, SEATS) == second.matches(version, 12, SEATS)


def test_draws_are_as_frequent_as_their_chances() -> None:
    made = league(opponents=3000)
    made.members[0].wins, made.members[10].wins, made.members[20].losses = 30.0, 3.0, 3.0
    drawn, chances = Counter(made.opponents(30)), made.chances(30)
    assert chances[0] < chances[10] < chances[20]
    assert sum(chances.values()) == pytest.approx(1)
    for version, p in chances.items():
        assert abs(drawn[version] / 3000 - p) < 5 * math.sqrt(p * (1 - p) / 3000) + 1e-9


def test_whom_matchmaking_prefers() -> None:
    assert league(matchmaking="uniform").chances(30) == pytest.approx({0: 1 / 3, 10: 1 / 3, 20: 1 / 3})
    assert league(matchmaking="latest").chances(30) == {20: 1.0}
    assert league(matchmaking="latest").chances(20) == {10: 1.0}, "one is no opponent of oneself"
    assert league((0,), matchmaking="latest").chances(0) == {0: 1.0}, "unless there is nobody else"
    hard = league((0, 10))
    hard.members[0] = Member(Rating(), wins=1, draws=1)  # (1 + 1/2 + 1/2) / (2 + 1) = 2/3 won
    assert hard.chances(20) == pytest.approx({0: (1 / 9) / (1 / 9 + 1 / 4), 10: (1 / 4) / (1 / 9 + 1 / 4)})


@given(st.integers(2, 9), st.integers(1, 60))
def test_members_are_bounded_and_stay_spread_over_the_run(size: int, count: int) -> None:
    made = league(tuple(range(0, 10 * count, 10)), size=size)
    kept = list(made.members)
    assert len(kept) == min(size, count)
    assert kept[0] == 0
    assert kept[-1] == 10 * (count - 1)
    if size > 2:
        gaps = [b - a for a, b in pairwise(kept)]
        assert not gaps or max(gaps) <= 2 * 10 * count / (size - 1) + 10


@given(results)
def test_ratings_follow_the_equations(played: list[tuple[int, int]]) -> None:
    made = league()
    made.record(played)
    current = Rating(25.0, math.hypot(DEVIATION, DRIFT))
    others = dict.fromkeys((0, 10, 20), Rating())
    for opponent, result in played:
        other = others[opponent]
        c = math.sqrt(2 * (DEVIATION / 2) ** 2 + current.deviation**2 + other.deviation**2)
        p = 1 / (1 + math.exp((other.mean - current.mean) / c))
        surprise, spread = (result + 1) / 2 - p, p * (1 - p)
        current, others[opponent] = (
            Rating(mean, deviation * math.sqrt(1 - (deviation / c) ** 3 * spread))
            for mean, deviation in (
                (current.mean + current.deviation**2 / c * surprise, current.deviation),
                (other.mean - other.deviation**2 / c * surprise, other.deviation),
            )
        )
    assert made.current == pytest.approx(current)
    assert {version: member.rating for version, member in made.members.items()} == {
        version: pytest.approx(rating) for version, rating in others.items()
    }


@given(results)
def test_games_make_certain_and_time_makes_uncertain(played: list[tuple[int, int]]) -> None:
    made = league()
    made.record(played)
    before = made.current.deviation
    assert before < DEVIATION + 0.01
    made.record([])
    assert made.current.deviation > before, "what learns may have changed"
    assert all(member.rating.deviation <= DEVIATION for member in made.members.values()), "what is frozen has not"


def test_wins_raise_draws_level_and_a_member_begins_as_good_as_it_was() -> None:
    made = league((0,))
    made.record([(0, 1)] * 40)
    strong = made.current.mean
    assert strong > 30 > 20 > made.members[0].rating.mean
    made.add(10)
    assert made.members[10].rating == made.current
    made.record([(0, 0)] * 200)
    assert abs(made.current.mean - made.members[0].rating.mean) < 2, "who always draw are equally good"
    assert made.members[0].draws == 200
    assert made.members[0].wins == pytest.approx(40 * 0.95)


@given(results, st.integers(0, 99))
def test_a_league_is_restored_from_json(played: list[tuple[int, int]], version: int) -> None:
    made, again = league(), league(())
    made.record(played)
    again.restore(json.loads(json.dumps(made.state())))
    assert again.summary() == made.summary()
    assert again.matches(version, 9, SEATS) == made.matches(version, 9, SEATS)


def chicken(*replies: str, names: tuple[str, str] = ("p", "p")) -> tuple[World, Episode]:
    made = world("matrix", arena={"game": "chicken"})
    policies = [Scripted(lambda heard, spec, r=r: r, name) for r, name in zip(replies, names, strict=True)]  # type: ignore[misc]
    return made, one(made, Plan("e", dict(zip(made.agents, policies, strict=True)), 1))


def test_the_standing_is_one_line() -> None:
    made = league()
    made.record([(10, -1)] * 3)
    assert re.fullmatch(
        r"rating 1\d\.\d ± \d\.\d; the best of 3 frozen versions, 10: 3\d\.\d ± \d\.\d", standing(made.summary()).plain
    )


def test_exploitability_is_printed_with_and_without_a_table() -> None:
    def lines(found: dict[str, Any]) -> str:
        console = Console(width=100)
        with console.capture() as caught:
            console.print(equilibrium(found))
        return caught.get()

    assert lines({"exploitability": 0.25}).strip() == "exploitability 0.2500"
    mixed = [{"seat": "player_0", "seen": "round t0", "chances": {"heads": 0.25, "tails": 0.75}}]
    even = [mixed[0] | {"chances": {"heads": 0.5, "tails": 0.5}}]
    both = {"exploitability": 0.5, "exploitability_average": 0.0, "policy": mixed, "average_policy": even}
    first, head, row = lines(both).strip().splitlines()
    assert first.rstrip() == "exploitability 0.5000, of the average 0.0000"
    assert head.split() == ["seat", "knows", "replies", "with", "on", "average"]
    assert "heads 0.250, tails 0.750" in row
    assert "heads 0.500, tails 0.500" in row


def test_the_report_draws_what_there_is() -> None:
    assert report._selfplay([], [], []) == []
    first, second = report._selfplay([(10, 0.3), (20, 0.1)], [(10, 0.2), (20, 0.1)], [(1, 25.0), (2, 26.0)])
    assert [name for name, _ in first.names] == ["policies", "average over the league"]
    assert [name for name, _ in second.names] == ["rating"]


def test_the_outcome_compares_the_learner_with_the_mean_of_the_others() -> None:
    _, episode = chicken("dare", "chicken")
    assert (outcome(episode, "player_0"), outcome(episode, "player_1")) == (1, -1)
    _, episode = chicken("dare", "dare")
    assert outcome(episode, "player_0") == 0


def test_names_in_the_log_say_who_learns() -> None:
    _, episode = chicken("dare", "chicken", names=("shared", named("shared", 20)))
    assert episode.log.seats["player_1"] == "shared@20"
    assert episode.learners == (True, False)
