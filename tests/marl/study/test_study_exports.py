from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from marl.errors import UserError
from marl.study import exports, source
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
    it = source.read(chatter)
    corpus, about = exports.export(["elcc"], [it], tmp_path / "new" / "folder")
    known = json.loads(about.read_text())
    lines = [json.loads(line) for line in corpus.read_text().splitlines()]
    assert [tuple(known["vocabulary"][str(n)] for n in line) for line in lines] == [s.message for s in it.samples]
    assert known["corpus"] == {"utterances": len(lines), "vocabulary_size": len(known["vocabulary"])}
    assert 0 not in {n for line in lines for n in line}
    assert known["system"]["speakers"] == ["a_0", "b_0", "c_0"]
    assert known["origin"]["sources"] == [str(chatter)]


def test_pairs_are_in_the_form_that_csar_reads(chatter: Path, tmp_path: Path) -> None:
    it = source.read(chatter)
    corpus, _, pairs = exports.export(["elcc", "csar"], [it], tmp_path)
    lines = pairs.read_text().splitlines()
    both = [json.loads(f"[{line}]") for line in lines]
    assert [message for message, _ in both] == [json.loads(line) for line in corpus.read_text().splitlines()]
    for (_, labels), sample in zip(both, it.samples, strict=True):
        assert labels
        assert set(labels) <= set(sample.meaning.split()) | {sample.meaning}


def test_evaluations_of_runs_are_put_together(run: Path, make_run: Callable[..., Path], tmp_path: Path) -> None:
    other = make_run("lewis", "seed=2")
    sources = [source.read(run), source.read(other), source.read(run)]
    (path,) = exports.export(["marl-eval"], sources, tmp_path)
    tree = json.loads(path.read_text())
    runs = tree["sabir"]["lewis"]["mappo"]
    assert list(runs) == ["seed_1", "seed_2", "seed_1_run"]
    steps = runs["seed_2"]
    assert [steps[f"step_{k}"]["step_count"] for k in range(2)] == [32, 64]
    rows = [row for row in source.read(other).run.read_metrics() if "eval/score" in row]  # type: ignore[union-attr]
    assert steps["absolute_metrics"]["mean_episode_return"] == [rows[-1]["eval/score"]]
    with pytest.raises(UserError, match="it takes folders of runs"):
        exports.export(["marl-eval"], [], tmp_path)


def test_every_reception_of_every_message_is_a_row(chatter: Path, tmp_path: Path) -> None:
    it = source.read(chatter)
    (path,) = exports.export(["parquet"], [it], tmp_path)
    table = pq.read_table(path)
    assert table.schema.names == list(exports.COLUMNS)
    rows = table.to_pylist()
    said = [(each, x) for each in it.logs for x in each.entries if x.envelope.kind.value == "say"]
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
    assert (tmp_path / "csar.jsonl").read_text().splitlines() == ['[1, 2], ["x"]', '[], ["y"]']
