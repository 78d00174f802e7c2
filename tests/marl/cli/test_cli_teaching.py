"""`marl teach` and `marl generations`: what strangers learn of a run, and what pupils make of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from marl.rundir.folder import RunDir
from tests.marl.conftest import TINY, marl
from trainers.transmission.generations import Iterated
from trainers.transmission.teaching import Teaching

GENERATIONS = (*TINY, "scenario.arena.n=3", "scenario.arena.k=3", "updates=2")
LESSONS = ("--generations", 2, "--bottleneck", 3, "--steps", 5)


def test_a_curve_for_every_seat_is_printed_and_kept(run: Path) -> None:
    options = ("--steps", 4, "--every", 2, "--learners", 2)
    done = marl("teach", run, *options)
    assert done.code == 0, done.err
    head, *rows = [line.split() for line in done.out.splitlines()]
    assert head == ["steps", "sender_0", "receiver_0"]
    assert [row[0] for row in rows[:3]] == ["0", "2", "4"]
    kept = json.loads(RunDir(run).teaching.read_text())
    assert (kept["update"], kept["learners"], kept["share"]) == (4, 2, 1.0)
    teachings = [Teaching.model_validate(entry) for entry in kept["seats"]]
    assert [teaching.seat for teaching in teachings] == ["sender_0", "receiver_0"]
    assert rows[0][1:] == [f"{(teaching.scores[0][0] + teaching.scores[1][0]) / 2:.3f}" for teaching in teachings]
    assert rows[3] == ["its", "own", *(f"{teaching.own:.3f}" for teaching in teachings)]
    again = marl("teach", run, *options, "--json")
    assert json.loads(again.out) == kept
    RunDir(run).teaching.unlink()


def test_generations_are_runs_and_the_same_command_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "kin"
    done = marl("generations", "lewis", *GENERATIONS, f"out={out}", *LESSONS)
    assert done.code == 0, done.err
    head, first, second = [line.split() for line in done.out.splitlines()]
    assert head == ["generation", "pupils", "score", "stability", "synchronisation", "topographic", "similarity"]
    assert (first[:2], second[0]) == (["0", "–"], "1")
    assert all(RunDir(out / f"generation-{n}").finished for n in range(2))
    kept = Iterated.model_validate_json((out / "generations.json").read_bytes())
    assert second[1] == f"{kept.generations[1].pupils.value:.3f}"
    again = marl("generations", "lewis", *GENERATIONS, f"out={out}", *LESSONS, "--json")
    assert json.loads(again.out) == [generation.model_dump() for generation in kept.generations]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("teach", "RUN", "--seat", "nobody"), "there is no seat 'nobody'; the seats are sender_0, receiver_0"),
        (("teach", "RUN", "--share", 2), "--share must be above 0 and at most 1, not 2"),
        (("teach", "nowhere"), "nowhere does not exist"),
        (("generations", "lewis", "policy.width=30"), "the models cannot be built as configured"),
        (("generations", "nowhere"), "nowhere"),
        (("generations", "lewis", "updatse=3"), "updatse"),
        (("generations", "lewis", "--generations", 0), "--generations"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = marl(*(run if word == "RUN" else word for word in arguments))
    assert done.code == 2
    assert sentence in done.err
    assert "Traceback" not in done.err
    assert not list(tmp_path.glob("**/generations.json"))
