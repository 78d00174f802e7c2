"""What is made of runs: their folders are written by hand here, so that every figure can be worked out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

import pytest

from arenas import Anchors
from marl.sweep import export, page
from marl.sweep.plan import Sweep, SweepSource, begin, load, plan
from marl.sweep.results import ALL, CellResult, Reached, gather, table
from marl.sweep.table import cells, markdown, note, text
from trainers.run_config import RunConfig

Curve = Sequence[tuple[int, float, float]]
"""Update, score, success of each evaluation."""
SEQUENTIAL, TEAM = "credit=sequential", "credit=team"


def swept(
    folder: Path, curves: Mapping[tuple[str, str], Sequence[Curve | None]], *words: str, **settings: Any
) -> list[CellResult]:
    """Lay out a sweep of some lewis arenas, ten episodes and two seconds an update; None is an unfinished run."""
    source = SweepSource("base", {"scenario": {"arena": {"name": "lewis", "n": 4, "k": 4}}, **settings})
    count = max(map(len, curves.values()))
    sweep: Sweep = plan([source], ["algorithm.credit=sequential,team", *words], str(count), RunConfig)
    begin(folder, sweep)
    for member in sweep.members(folder):
        curve = curves[member.cell.task, member.cell.config][member.seed - 1]
        member.dir.path.mkdir(parents=True)
        member.dir.config.write_text("")
        for update, score, success in curve or ((2, 0.9, 0.9),):
            row = {"update": update, "episodes": 10 * update, "time/seconds": 2.0 * update, "train/score": 0.1}
            member.dir.append_metrics({**row, "update": update - 1, "episodes": 10 * update - 10})
            member.dir.append_metrics({**row, "eval/score": score, "eval/success": success})
        if curve is not None:
            member.dir.summary.write_text("{}")
    return gather(sweep, folder)


def flat(*scores: float) -> list[Curve | None]:
    """Runs with two evaluations, the second of these scores."""
    return [((2, 0.25, 0.25), (4, score, score)) for score in scores]


def test_the_table_by_hand(tmp_path: Path) -> None:
    first, second = table(
        swept(tmp_path, {("lewis", SEQUENTIAL): flat(0.25, 0.5, 0.5, 1.0), ("lewis", TEAM): flat(1.0, 1.0, 0.5, 0.0)})
    )
    assert first.score is not None
    assert first.score.value == 0.5  # the middle two of 0.25, 0.5, 0.5, 1
    assert second.score is not None
    assert second.score.value == 0.75
    assert (first.succeeded, second.succeeded) == (1, 2)
    assert first.better is None
    assert second.better is not None
    # 1, 1, 0.5, 0 against 0.25, 0.5, 0.5, 1: wins 3 + 3 + 1 + 0, ties 1 + 1 + 2 + 0
    assert second.better.value == (7 + 4 / 2) / 16
    assert first.gap is not None
    # normalised (score - 1/4) / (3/4): 0, 1/3, 1/3, 1
    assert first.gap.value == pytest.approx(1 - (0 + 1 / 3 + 1 / 3 + 1) / 4)
    assert (first.threshold, second.threshold) == (None, None)  # there is no stop_at


def test_unfinished_runs_do_not_count_and_a_configuration_may_have_none(tmp_path: Path) -> None:
    results = swept(tmp_path, {("lewis", SEQUENTIAL): [*flat(0.5), None], ("lewis", TEAM): [None, None]})
    first, second = table(results)
    assert (first.finished, first.planned, second.finished) == (1, 2, 0)
    assert first.score == (0.5, 0.5, 0.5)
    assert (second.score, second.gap, second.better) == (None, None, None)
    heads, lines = cells(results)
    assert lines[1] == [TEAM, "0/2", "–", "0/0"]
    assert heads == ["configuration", "runs", "score", "succeeded"]


def test_the_time_to_the_threshold_counts_runs_that_never_come_there(tmp_path: Path) -> None:
    fast: Curve = ((2, 0.5, 0.5), (4, 0.8, 0.8))
    slow: Curve = ((2, 0.5, 0.5), (4, 0.5, 0.5), (6, 0.9, 0.9))
    never: Curve = ((2, 0.5, 0.5), (4, 0.5, 0.5), (6, 0.7, 0.79))
    results = swept(
        tmp_path, {("lewis", SEQUENTIAL): [fast, slow, never], ("lewis", TEAM): [fast, never, never]}, stop_at=0.8
    )
    first, second = table(results)
    assert first.threshold == Reached(6, 60, 12.0)  # the median of 4, 6, never; without never it would be 5
    assert second.threshold == Reached(inf, inf, inf)
    assert (first.succeeded, second.succeeded) == (2, 1)
    heads, lines = cells(results)
    assert [dict(zip(heads, line, strict=True))["updates"] for line in lines] == ["6", "never"]
    assert first.sooner is None
    assert second.sooner is not None
    # 4, never, never against 4, 6, never: sooner 0 + 1 + 1, ties 1 + 0 + 0; later, ties 0 + 0 + 1, twice
    assert second.sooner.value == (2 + 1 / 2 + 2 * 1 / 2) / 9
    assert "P(sooner)" in heads
    assert "two that never do a tie" in note(results)
    assert "80% of episodes" in note(results)


def test_episodes_played_for_credit_alone_are_counted(tmp_path: Path) -> None:
    results = swept(tmp_path, {("lewis", SEQUENTIAL): flat(1.0, 0.5), ("lewis", TEAM): flat(1.0, 1.0)})
    assert "episodes" not in cells(results)[0]
    for run in sorted(tmp_path.glob("lewis/credit=team/seed-*/metrics.jsonl")):
        run.write_text(run.read_text().replace('"train/score": 0.1', '"train/score": 0.1, "credit/futures": 30.0'))
    sweep = load(tmp_path)
    first, second = table(gather(sweep, tmp_path))
    assert first.played == 40  # four updates of ten
    assert second.played == 40 + 4 * 30  # as many rows as two evaluations leave here
    heads, lines = cells(gather(sweep, tmp_path))
    assert [dict(zip(heads, line, strict=True))["episodes"] for line in lines] == ["40", "160"]
    assert "Episodes: mean over runs" in note(gather(sweep, tmp_path))


def test_over_all_tasks_scores_are_normalised_and_runs_drawn_within_tasks(tmp_path: Path) -> None:
    curves = {
        ("lewis n=4", SEQUENTIAL): flat(0.25, 0.25),
        ("lewis n=4", TEAM): flat(1.0, 1.0),
        ("lewis n=2", SEQUENTIAL): flat(0.5, 1.0),
        ("lewis n=2", TEAM): flat(0.5, 1.0),
    }
    rows = table(swept(tmp_path, curves, "scenario.arena.n=4,2"))
    over = {row.config: row for row in rows if row.task == ALL}
    assert [row.task for row in rows[:4]] == ["lewis n=4", "lewis n=4", "lewis n=2", "lewis n=2"]
    sequential, team = over[SEQUENTIAL], over[TEAM]
    assert (sequential.finished, sequential.planned) == (4, 4)
    # random play is 1/4 and 1/2; normalised 0, 0 and 0, 1; IQM of 0, 0, 0, 1 is 0
    assert sequential.score is not None
    assert sequential.score.value == 0.0
    assert team.score is not None
    assert team.score.value == 1.0  # of 1, 1, 0, 1
    assert team.gap is not None
    assert team.gap.value == 0.25
    assert team.better is not None
    assert team.better.value == (1.0 + 0.5) / 2
    assert team.better.low >= 0.5  # on the first task every sample is better, whatever is drawn


def test_a_curve_keeps_the_last_score_of_runs_that_stopped(tmp_path: Path) -> None:
    early: Curve = ((2, 0.5, 0.5), (4, 1.0, 1.0))
    late: Curve = ((2, 0.25, 0.25), (4, 0.25, 0.25), (6, 0.5, 0.5))
    first, _ = swept(tmp_path, {("lewis", SEQUENTIAL): [early, late], ("lewis", TEAM): [late, late]}, stop_at=1.0)
    curve = first.curve()
    assert [x for x, _ in curve] == [20, 40, 60]
    assert [estimate.value for _, estimate in curve] == [0.375, 0.625, 0.75]
    assert all(estimate.low <= estimate.value <= estimate.high for _, estimate in curve)


def test_the_export_is_what_marl_eval_documents(tmp_path: Path) -> None:
    early: Curve = ((2, 0.5, 0.5), (4, 1.0, 1.0))
    late: Curve = ((2, 0.25, 0.25), (4, 0.25, 0.25), (6, 0.5, 0.5))
    results = swept(
        tmp_path, {("lewis", SEQUENTIAL): [early, late, late], ("lewis", TEAM): [late, late, None]}, stop_at=1.0
    )
    data = json.loads(json.dumps(export.marl_eval(results)))
    algorithms = data["sabir"]["lewis"]
    assert list(algorithms) == [SEQUENTIAL, TEAM]
    for runs in algorithms.values():
        assert list(runs) == ["seed_1", "seed_2"]  # as many everywhere: seed 3 is not finished in both
        for run in runs.values():
            *steps, last = run
            assert (steps, last) == (["step_0", "step_1", "step_2"], "absolute_metrics")
            assert [run[step]["step_count"] for step in steps] == [20, 40, 60]
            metrics = {frozenset(set(measured) - {"step_count"}) for measured in run.values()}
            assert metrics == {frozenset({"return", "normalised_score", "success"})}
            for measured in run.values():
                assert all(isinstance(value, list) for name, value in measured.items() if name != "step_count")
    stopped = algorithms[SEQUENTIAL]["seed_1"]
    assert [stopped[f"step_{k}"]["return"] for k in range(3)] == [[0.5], [1.0], [1.0]]
    assert stopped["absolute_metrics"] == {"return": [1.0], "normalised_score": [1.0], "success": [1.0]}
    assert algorithms[TEAM]["seed_1"]["step_0"]["normalised_score"] == [0.0]


def test_names_in_the_export_are_lower_case_and_without_commas(tmp_path: Path) -> None:
    source = SweepSource(
        "BASE", {"scenario": {"arena": {"name": "lewis"}}, "sweep": {"scenario.closed": [[], ["public"]]}}
    )
    sweep = plan([source], ["algorithm.lr=1e-3,1e-4"], "1", RunConfig)
    sweep = sweep.model_copy(update={"configs": [c.model_copy(update={"config": "A,b"}) for c in sweep.configs[:1]]})
    (member,) = sweep.members(tmp_path)
    member.dir.path.mkdir(parents=True)
    row = {"update": 1, "episodes": 1, "time/seconds": 1.0, "eval/score": 0.5, "eval/success": 0.5}
    member.dir.append_metrics(row)
    member.dir.summary.write_text("{}")
    assert list(export.marl_eval(gather(sweep, tmp_path))["sabir"]["lewis"]) == ["a;b"]


def test_the_table_is_the_same_on_the_terminal_and_in_markdown(tmp_path: Path) -> None:
    results = swept(tmp_path, {("lewis", SEQUENTIAL): flat(0.25, 1.0), ("lewis", TEAM): flat(1.0, 1.0)})
    heads, lines = cells(results)
    shown = markdown(results).splitlines()
    assert [[cell.strip() for cell in line.strip("|").split("|")] for line in (shown[0], *shown[2:4])] == [
        heads,
        *lines,
    ]
    assert [line.split("   ")[0].strip() for line in text(results)] == ["configuration", SEQUENTIAL, TEAM]
    assert "[" in text(results)[1]


def test_the_page_stands_alone_and_is_the_same_again(tmp_path: Path) -> None:
    curves = {
        (f"lewis n={n}", config): flat(0.25, 0.75) if config == TEAM else flat(0.5, 0.25)
        for n in (4, 3)
        for config in (SEQUENTIAL, TEAM)
    }
    results = swept(tmp_path, curves, "scenario.arena.n=4,3")
    html = page.write(results, tmp_path).read_text()
    assert html.count("<svg") == 3 + 3 + 2  # curves, scores and improvement of each task; no curve over all
    for part in (
        TEAM,
        "lewis n=4",
        ALL,
        "4 of 4 runs" if len(results) == 2 else "8 of 8 runs",
        "probability of improvement",
    ):
        assert part in html
    assert "http" not in html.replace("http://www.w3.org", "")
    assert page.write(results, tmp_path).read_text() == html


def test_draws_have_the_name_of_a_configuration_as_coordinate_not_its_place(tmp_path: Path) -> None:
    scores = flat(*(0.31, 0.42, 0.93, 0.57, 0.71, 0.26, 0.88, 0.49, 0.64, 0.37))
    both = swept(tmp_path, {("lewis", SEQUENTIAL): scores, ("lewis", TEAM): scores})
    (first, second), (_, again) = table(both), table(both[::-1])
    assert first.gap == again.gap
    assert first.gap != second.gap  # the same scores under another name


def test_where_the_optimum_is_not_known_scores_stand_alone(tmp_path: Path) -> None:
    results = swept(tmp_path, {("lewis", SEQUENTIAL): flat(0.25, 0.5), ("lewis", TEAM): flat(1.0, 1.0)})
    unknown = [result._replace(anchors=Anchors()) for result in results]
    for result in unknown:
        for run in result.runs:
            for row in run.evaluations:
                del row["eval/success"]
    first, second = table(unknown)
    assert (first.gap, first.succeeded) == (None, None)
    assert second.better is not None
    assert second.better.value == 1.0
    assert cells(unknown)[1][0][-2:] == ["–", "–"]
    metrics = export.marl_eval(unknown)["sabir"]["lewis"][SEQUENTIAL]["seed_2"]["absolute_metrics"]
    assert metrics == {"return": [0.5]}
    assert "<svg" in page.write(unknown, tmp_path).read_text()
