from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from marl.errors import UserError
from marl.metrics.measure import Measure, measured, undefined
from marl.rundir.folder import RunDir
from marl.study.data.result import Study
from marl.study.pipeline import study
from protocols import log
from tests.marl.conftest import marl


def test_a_study_is_written_and_read_again(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    done = marl("study", folder, "--json", "--permutations", "20")
    assert done.code == 0, done.err
    result = Study.load(folder / "study.json")
    assert result == Study.model_validate(json.loads(done.out))
    (only,) = result.runs
    assert (only.arena, only.episodes) == ("lewis", 4)
    (language,) = only.languages
    assert (language.speaker, language.place, language.samples) == ("sender_0", 0, 4)
    assert sum(pair.count for pair in language.pairs) == 4


def test_a_measure_has_a_value_or_a_reason() -> None:
    assert measured("x", float("nan"), n=3).undefined == "it came out as nan"
    assert undefined("x", "nothing was said").value is None
    for wrong in ({"name": "x", "n": 1}, {"name": "x", "n": 1, "value": 1.0, "undefined": "why"}):
        with pytest.raises(ValueError, match="either a value, or the reason"):
            Measure.model_validate(wrong)


@pytest.mark.parametrize("text", ["", "{}", '{"version": 1, "runs": 3}'])
def test_what_is_no_study_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "study.json"
    path.write_text(text)
    with pytest.raises(UserError, match="is not a valid study"):
        Study.load(path)
    with pytest.raises(UserError, match="No such file"):
        Study.load(tmp_path / "nothing.json")


def documented() -> set[str]:
    """Every name in the first column of a table of docs/study.md."""
    names = set()
    for line in (Path(__file__).parents[3] / "docs/study.md").read_text().splitlines():
        if line.startswith("| `"):
            names |= {name.split()[0] for name in line.split("|")[1].replace("`", "").split(", ")}
    return names


def test_every_measure_is_documented(run: Path) -> None:
    (studied,) = study([run], permutations=5).runs
    names = {name.split()[0] for table in (studied.causes, studied.languages[0].measures) for name in table}
    names |= {name for effect in studied.effects for name in effect.measures}
    assert not names - documented()
    assert {"coordination", "cic", "gap_shuffled", "worth", "probe"} <= names


def test_what_was_not_forked_is_counted_all_the_same(run: Path) -> None:
    (result,) = study([run], permutations=5, forks=False).runs
    assert (result.causes, result.credits) == ({}, [])
    assert [list(effect.measures) for effect in result.effects] == [["coordination"]]
    assert result.scores["score"].n == 4


def test_a_study_without_forks_keeps_what_forks_found_of_the_same_episodes(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    options = ("--permutations", "5")
    assert marl("study", folder, *options).code == 0
    full = Study.load(folder / "study.json").runs[0]
    assert full.causes
    assert full.credits
    for _ in range(2):  # once more, of what was kept
        done = marl("study", folder, *options, "--no-forks")
        assert done.code == 0, done.err
        assert "what forks found is kept from an earlier study of these episodes" in done.err
        (kept,) = Study.load(folder / "study.json").runs
        assert kept == full.model_copy(update={"remarks": kept.remarks})
    log.save(RunDir(folder).eval_log, list(log.load(RunDir(folder).eval_log))[:-1])
    done = marl("study", folder, *options, "--no-forks")
    assert "what forks found before was of other episodes and is gone" in done.err
    assert Study.load(folder / "study.json").runs[0].causes == {}


def test_several_runs_are_put_together(run: Path, make_run: Callable[..., Path], tmp_path: Path) -> None:
    other = make_run("lewis", "seed=2")
    done = marl("study", run, other, "--to", tmp_path / "both", "--permutations", "5", "--no-forks")
    assert done.code == 0, done.err
    assert "all 2 runs" in done.out
    result = Study.load(tmp_path / "both" / "study.json")
    entropy = result.across["sender_0: entropy"]
    values = [member.languages[0].measures["entropy"].value for member in result.runs]
    assert entropy.value == pytest.approx(sum(v for v in values if v is not None) / 2)
    assert entropy.interval is not None
    assert entropy.interval.of == "bootstrap over 2 runs"
    for folder in (run, other):
        (folder / "study.json").unlink()
