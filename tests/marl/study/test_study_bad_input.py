"""What cannot be studied is refused in one sentence; what can be is, and the rest says why it cannot."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from marl.errors import UserError
from marl.policy.scripted import Scripted
from marl.study.across_runs import named
from marl.study.data import source
from marl.study.data.result import RunStudy
from marl.study.pipeline import examine, study
from protocols import log
from tests.marl.conftest import marl
from tests.marl.study.languages import COMPOSITIONAL, MEANINGS
from tests.marl.worlds import played, world


def only(path: Path) -> RunStudy:
    (run,) = study([path], permutations=5).runs
    assert RunStudy.model_validate_json(run.model_dump_json()) == run
    for _, measure in named(run):
        assert (measure.value is None) == bool(measure.undefined)
    return run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A log of eight games of lewis."""
    here = world("lewis")
    path = tmp_path / "games.jsonl"
    seats = {
        "sender_0": Scripted(lambda heard, spec: "m" + heard[-1].body[-1]),
        "receiver_0": Scripted(lambda heard, spec: "s" + heard[0].body[-1]),
    }
    log.save(path, [episode.log for episode in played(here, seats, 8)])
    return path


def test_a_run_without_messages(make_run: Callable[..., Path]) -> None:
    run = only(make_run("matrix"))
    assert not any((run.languages, run.effects, run.credits))
    assert "no message was sent: there is no language to measure" in run.remarks
    assert run.causes["gap_lost"].undefined == "nothing is said"
    assert run.causes["gap_paraphrased"].undefined == "nothing is said"
    assert run.causes["worth player_0"].value is not None
    assert run.scores["score"].value is not None


def test_one_episode(file: Path) -> None:
    logs = list(log.load(file))
    log.save(file, logs[:1])
    run = only(file)
    assert run.episodes == 1
    (language,) = run.languages
    assert language.measures["topographic_similarity"].undefined == "all samples have the same meaning"
    assert language.measures["entropy"].value == 0
    assert run.scores["score"].interval is None


def test_rewards_that_are_no_numbers(file: Path) -> None:
    text = file.read_text().splitlines()
    spoiled, rewards = [], 0
    for line in text:
        item = json.loads(line)
        if item.get("kind") == "reward":
            rewards += 1
            item["data"] = dict.fromkeys(("sender_0", "receiver_0"), float("nan") if rewards == 1 else 1.0)
        spoiled.append(json.dumps(item))
    file.write_text("\n".join(spoiled) + "\n")
    run = only(file)
    assert run.remarks[0] == "1 episodes have a reward that is no number (e0): they count in no score"
    assert (run.scores["score"].value, run.scores["score"].n) == (1, 7)
    assert run.languages[0].measures["mutual_information"].value is not None
    assert any(pair.score is None or pair.score == 1 for pair in run.languages[0].pairs)
    file.write_text("\n".join(spoiled).replace("1.0", "NaN") + "\n")
    assert only(file).scores["score"].undefined == "no episode has a reward that is a number"


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_log_that_was_cut_in_the_middle(file: Path, suffix: str) -> None:
    whole = file.read_bytes()
    path = file.with_name("cut.jsonl" + suffix)
    member = gzip.compress(whole, mtime=0)
    raw = member + member[:100] if suffix else whole[: len(whole) * 2 // 3]  # a .gz is written member by member
    path.write_bytes(raw)
    run = only(path)
    assert 0 < run.episodes < 8
    assert any("the episodes before it are studied" in remark for remark in run.remarks)
    path.write_bytes(raw[:60])
    with pytest.raises(UserError, match=r"no finished episode precedes it"):
        source.read(path)


def test_an_episode_without_an_end_is_left_out(file: Path) -> None:
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:-1]) + "\n")
    run = only(file)
    assert run.episodes == 7
    assert run.remarks == [f"{file}: 1 episodes have no end and are left out"]


def test_policies_that_cannot_be_loaded_leave_the_rest(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "logs").mkdir(parents=True)
    for name in ("config.toml", "logs/eval.jsonl.gz"):
        (folder / name).write_bytes((run / name).read_bytes())
    result = only(folder)
    assert result.causes == {}
    assert result.languages[0].measures["entropy"].value is not None
    assert any(remark.startswith("no forks: ") and "no checkpoint" in remark for remark in result.remarks)


TABLE = "meaning,message,act,score\n" + "".join(
    f"{' '.join(x)},{' '.join(m)},{' '.join(x)},1\n" for x, m in zip(MEANINGS, COMPOSITIONAL, strict=True)
)
LINES = "".join(
    json.dumps({"meaning": x, "message": m, "act": " ".join(x), "score": 1}) + "\n"
    for x, m in zip(MEANINGS, COMPOSITIONAL, strict=True)
)


@pytest.mark.parametrize(("name", "text"), [("m.csv", TABLE), ("m.tsv", TABLE.replace(",", "\t")), ("m.jsonl", LINES)])
def test_messages_of_another_program(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    run = only(path)
    measures = run.languages[0].measures
    assert measures["topographic_similarity"].value == pytest.approx(1)
    assert measures["mutual_information"].value == pytest.approx(4)
    assert run.effects[0].measures["coordination"].value == pytest.approx(4)
    assert run.scores["score"].value == 1
    assert (run.episodes, run.remarks) == (16, [])


def test_all_columns_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "all.csv"
    path.write_text(
        "meaning,message,own,speaker,place,episode,score,held_out\n"
        "a0,m0 m1,up,ann,0,1,0.5,0\na1,,down,ann,0,2,nan,0\na2,m2,up,ann,0,3,0.25,1\nx,y,up,bob,1,3,0.25,true\n"
    )
    run = only(path)
    assert [(language.speaker, language.place, language.samples) for language in run.languages] == [
        ("ann", 0, 2),
        ("bob", 1, 1),
    ]
    assert {pair.message for pair in run.languages[0].pairs} == {"m0 m1", "", "m2"}
    assert [pair.held_out for pair in run.languages[0].pairs] == [False, False, True]
    assert (run.scores["score"].value, run.scores["score held out"].value) == (0.5, 0.25)
    assert run.scores["generalisation_gap"].value == 0.25
    assert run.remarks == ["1 messages have no score that is a number: they count in no score"]


def test_scores_none_of_which_is_a_number_are_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "nan.csv"
    path.write_text("meaning,message,score\nx,m0,nan\ny,m1,nan\n")
    run = only(path)
    assert run.remarks == ["2 messages have no score that is a number: they count in no score"]
    assert run.scores == {}
    path.write_text("meaning,message,score\nx,m0,\ny,m1,\n")  # a column that was left empty
    assert only(path).remarks == []


def test_a_file_of_another_program_that_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "cut.jsonl"
    path.write_text(LINES[:-10])
    run = only(path)
    assert run.languages[0].samples == 15
    assert run.remarks == [f"{path}, line 16 is cut off: the messages before it are studied"]


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.csv", "meaning,msg\nx,y\n", "there is no message, only meaning, msg; it should be like meaning,message"),
        ("a.csv", "meaning,message,message\nx,y,z\n", "there are two columns message: give each another name"),
        ("a.csv", "", "there is no meaning and no message, nor anything else"),
        ("a.csv", "meaning,message\n", "holds no message"),
        ("a.csv", "meaning,message\nx\n", "line 2: its number of cells differs from the header's"),
        ("a.csv", "meaning,message,score\nx,y,much\n", "line 2: score is 'much', not a number"),
        ("a.csv", "meaning,message\n\xff,y\n", "is not a text table"),
        ("a.jsonl", '{"meaning": 1}\n', "line 1: there is no message, only meaning"),
        ("a.jsonl", '{"meaning": 1\n{}\n', "line 1 is not valid JSON: write one object per line"),
        ("a.jsonl", "[1]\n", "line 1 is not a JSON object such as"),
        ("a.jsonl", '{"meaning": 1, "message": {"x": 1}}\n', 'message is {"x": 1}, not a word or a list of words'),
        ("a.jsonl", '{"meaning": 1, "message": NaN}\n', "message is NaN, not a word"),
        ("a.jsonl", '{"meaning": 1, "message": ["m 1"]}\n', "a word of message is empty or has a space in it"),
        ("a.jsonl", "", "holds no message"),
        ("a.log", "hello\n", "a.log, line 1"),
    ],
)
def test_a_file_that_is_wrong_is_refused_in_one_sentence(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode("latin-1"))
    done = marl("study", path)
    assert done.code == 2
    assert sentence in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_what_is_not_there(tmp_path: Path, run: Path) -> None:
    for arguments, sentence in (
        ([tmp_path / "nothing"], "does not exist: name the folder of a run, a log, or a file of messages"),
        ([tmp_path], "is not a run folder"),
        ([run, "--export", "elcc"], "--export: where to? Add --to FOLDER"),
        ([run, "--to", run / "config.toml"], "config.toml is a file: name a folder"),
        ([run, "--export", "odd", "--to", tmp_path / "x"], "there is no export 'odd'; there are elcc, csar"),
    ):
        done = marl("study", *arguments)
        assert done.code == 2
        assert sentence in done.err
    with pytest.raises(UserError, match="there is nothing to study: name"):
        study([])


def test_a_source_may_be_read_first(file: Path) -> None:
    it = source.read(file)
    assert examine(it, permutations=5) == study([it], permutations=5).runs[0]
