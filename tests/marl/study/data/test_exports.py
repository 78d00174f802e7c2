from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow.parquet as pq
import pytest

from marl.errors import UserError
from marl.study.data import exports, source
from protocols import log
from tests.marl.conftest import marl
from tests.marl.worlds import WORLDS, played, seated, world


@pytest.fixture(scope="session")
def chatter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log in which messages are lost, shortened, changed and late."""
    here = world(**WORLDS["chat, all effects"])
    path = tmp_path_factory.mktemp("chat") / "chat.jsonl"
    log.save(path, [episode.log for episode in played(here, seated(here), 4)])
    return path


def test_corpora_are_numbers_with_their_vocabulary(chatter: Path, tmp_path: Path) -> None:
    """A line is a list of integers (README of XferBench); elcc-analysis reads `system` and `metrics` (src/core.py)."""
    it = source.read(chatter)
    corpus, system, about = exports.export(["elcc"], [it], tmp_path / "new" / "folder")
    metrics, of = json.loads(about.read_text()), json.loads(system.read_text())
    lines = [json.loads(line) for line in corpus.read_text().splitlines()]
    assert [tuple(metrics["vocabulary"][str(n)] for n in line) for line in lines] == [s.message for s in it.samples]
    tokens = sum(map(len, lines))
    assert metrics["corpus"] == {
        "utterances": len(lines),
        "tokens": tokens,
        "vocabulary_size": len(metrics["vocabulary"]),
    }
    assert metrics["metrics"]["system"]["score"] == pytest.approx(
        fmean(s.score for s in it.samples if s.score is not None)
    )
    assert all(type(n) is int and n > 0 for line in lines for n in line)
    assert of["system"]["speakers"] == ["a_0", "b_0", "c_0"]
    assert of["origin"]["sources"] == [str(chatter)]


def test_a_corpus_too_short_for_xferbench_is_said_to_be(tmp_path: Path) -> None:
    """It divides by the tokens less 255 of each thousand lines (get_tokenized_dataset in xferbench/model/common.py)."""
    path, printed = tmp_path / "a.csv", list[str]()
    for tokens, remarks in ((255, 1), (256, 0)):
        path.write_text("meaning,message\n" + "x,m0\n" * tokens)
        exports.export(["elcc"], [source.read(path)], tmp_path, printed.append)
        assert len(printed) == remarks, tokens
        printed.clear()


def test_pairs_are_in_the_form_that_csar_reads(chatter: Path, tmp_path: Path) -> None:
    """Each line is JSON, a list of two lists (`load_input_data` in CSAR's src/util.py), unlike in its README."""
    it = source.read(chatter)
    corpus, _, _, pairs = exports.export(["elcc", "csar"], [it], tmp_path)
    both = [json.loads(line) for line in pairs.read_text().splitlines()]
    assert all(len(pair) == 2 and all(isinstance(side, list) for side in pair) for pair in both)
    assert [message for message, _ in both] == [json.loads(line) for line in corpus.read_text().splitlines()]
    for (_, labels), sample in zip(both, it.samples, strict=True):
        assert labels
        assert set(labels) <= set(sample.meaning.split()) | {sample.meaning}


def shape(tree: dict[str, Any]) -> set[tuple[frozenset[str], frozenset[str]]]:
    """Return the steps of each run, and the metrics of each step: marl-eval wants one kind of each (DiagnoseData)."""
    return {
        (frozenset(steps), frozenset(set(metrics) - {"step_count"}))
        for task in tree["sabir"].values()
        for runs in task.values()
        for steps in runs.values()
        for metrics in steps.values()
    }


def test_evaluations_of_runs_are_put_together(run: Path, make_run: Callable[..., Path], tmp_path: Path) -> None:
    other = make_run("lewis", "seed=2")
    (path,) = exports.export(["marl-eval"], [source.read(folder) for folder in (run, other, run)], tmp_path)
    tree = json.loads(path.read_text())
    assert len(shape(tree)) == 1
    runs = tree["sabir"]["lewis"]["mappo"]
    assert list(runs) == ["seed_1", "seed_2"]  # one that was named twice is there once
    steps = runs["seed_2"]
    assert list(steps) == ["step_0", "step_1", "absolute_metrics"]
    assert [steps[f"step_{k}"]["step_count"] for k in range(2)] == [32, 64]
    rows = [row for row in source.read(other).run.read_metrics() if "eval/score" in row]  # type: ignore[union-attr]
    assert steps["absolute_metrics"]["return"] == [rows[-1]["eval/score"]]


def test_marl_eval_gets_as_much_of_every_algorithm_or_is_not_written(
    run: Path, make_run: Callable[..., Path], tmp_path: Path
) -> None:
    printed: list[str] = []
    second, slow = make_run("lewis", "seed=2"), make_run("lewis", "algorithm.lr=1e-4", "evaluate_every=1")
    sources = [source.read(folder) for folder in (run, second, slow)]
    (path,) = exports.export(["marl-eval"], sources, tmp_path, printed.append)
    tree = json.loads(path.read_text())
    algorithms = tree["sabir"]["lewis"]
    assert {name: list(runs) for name, runs in algorithms.items()} == {
        "mappo run": ["seed_1"],
        "mappo run 2": ["seed_1"],
    }
    assert len(shape(tree)) == 1
    assert printed == ["marl-eval: left out are the seeds that not all have: 2"]
    with pytest.raises(UserError, match="these runs share none"):
        exports.export(["marl-eval"], sources[1:], tmp_path)
    with pytest.raises(UserError, match="name folders of finished runs"):
        exports.export(["marl-eval"], [], tmp_path)
    exports.export(["marl-eval"], [source.read(run), source.read(make_run("matrix"))], tmp_path, printed.append)
    assert printed[1:] == []


def test_every_reception_of_every_message_is_a_row(chatter: Path, tmp_path: Path) -> None:
    it = source.read(chatter)
    (path,) = exports.export(["parquet"], [it], tmp_path)
    table = pq.read_table(path)
    assert table.schema.names == list(exports.COLUMNS)
    rows = table.to_pylist()
    said = [(log, x) for log in it.logs for x in log.entries if x.envelope.kind.value == "say"]
    assert len(rows) == sum(max(len(entry.heard), 1) for _, entry in said)
    assert {row["run"] for row in rows} == {"chat.jsonl"}
    lost = [row for row in rows if row["heard"] is None]
    assert lost
    assert all(row["delay"] is None for row in lost)
    assert any(row["delay"] > 0 for row in rows if row["delay"] is not None)
    assert {row["channel"] for row in rows} <= {"public", ""}


def test_messages_of_another_program_become_rows_too(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("meaning,message,act,episode\nx,m0 m1,up,1\ny,,,2\n")
    done = marl("study", path, "--to", tmp_path, "--export", "parquet", "--export", "csar", "--permutations", "2")
    assert done.code == 0, done.err
    first, second = pq.read_table(tmp_path / "messages.parquet").to_pylist()
    assert (first["meaning"], first["said"], first["listener"], first["answer"]) == ("x", "m0 m1", "listener", "up")
    assert (second["said"], second["listener"], second["score"]) == ("", None, None)
    assert (tmp_path / "csar.jsonl").read_text().splitlines() == ['[[1, 2], ["x"]]', '[[], ["y"]]']
