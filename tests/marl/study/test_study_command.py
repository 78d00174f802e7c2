from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from marl.errors import UserError
from marl.study.measure import Measure, measured, undefined
from marl.study.result import Study
from tests.marl.conftest import marl


def test_a_study_is_written_and_read_again(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    done = marl("study", folder, "--json", "--permutations", "20")
    assert done.code == 0, done.err
    found = Study.load(folder / "study.json")
    assert found == Study.model_validate(json.loads(done.out))
    (only,) = found.runs
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
    with pytest.raises(UserError, match="is no study"):
        Study.load(path)
    with pytest.raises(UserError, match="No such file"):
        Study.load(tmp_path / "nothing.json")
