from __future__ import annotations

import gzip
import re
import shutil
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from marl.charts.svg import curves
from marl.report import report
from marl.rundir.folder import RunDir
from tests.marl.conftest import marl

VOID = {"meta", "br", "hr", "img", "link", "input", "use", "path"}
ARENAS: dict[str, tuple[str, ...]] = {
    "lewis": (),
    "reference": ("scenario.arena.values=3", "scenario.arena.length=2", "scenario.arena.distractors=2"),
    "reconstruction": ("sharing=shared", "scenario.arena.values=3", "scenario.arena.held_out=0.3"),
    "matrix": ("scenario.arena.rounds=2",),
}


class Page(HTMLParser):
    """Checks that elements are closed in order, and keeps the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.headings: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("style", "script"):
            return
        self.text += data
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


@pytest.fixture(params=ARENAS)
def page(request: pytest.FixtureRequest, make_run: Callable[..., Path]) -> tuple[str, str]:
    name = str(request.param)
    return name, (make_run(name, *ARENAS[name]) / "report.html").read_text()


def test_the_page_is_whole_and_needs_nothing_else(page: tuple[str, str]) -> None:
    text = page[1]
    assert not Page(text).open
    assert not re.search(r'src=|@import|url\((?!#)|href="(?!#)|<script|<link', text)
    assert "None" not in Page(text).text
    assert "<built-in" not in text
    assert 20_000 < len(text) < 1_000_000


def test_it_shows_what_the_arena_has_to_show(page: tuple[str, str]) -> None:
    name, text = page
    read = Page(text)
    expected = ["Learning", "Result"]
    if name == "matrix":
        expected += ["What is played", "Episodes"]
        assert "Nothing is said in this arena" in read.text
        assert "last a" in read.text
    else:
        speaker = "sender_0" if name == "lewis" else "speaker_0"
        expected += ["Who talks to whom", f"The code of {speaker}", "Does anyone listen?", "Conversations"]
        assert "Not measured" not in read.text
        assert "ablation gap" in read.text
        assert "Topographic similarity" in read.text
        assert 'class="symbol"' in text
    assert read.headings == expected
    assert text.count("<svg") == (3 if name == "matrix" else 4)
    assert ("What a symbol stands for" in read.text) == (name in ("reference", "reconstruction"))
    assert ("held out" in read.text) == (name == "reconstruction")
    for anchor in ("random", "without talk", "optimum"):
        assert anchor in read.text
    assert 'name = "' + name in read.text  # the configuration


def test_prices_and_noise_are_told(make_run: Callable[..., Path]) -> None:
    channel = "scenario.channel=[{type='price', per_symbol=0.1}, {type='noise', p=0.9}]"
    text = Page((make_run("lewis", channel) / "report.html").read_text()).text
    assert "hold for a perfect channel" in text
    assert "at a price of 0.1" in text
    assert "hears" in text


def test_free_talk_has_no_size_in_bits(make_run: Callable[..., Path]) -> None:
    read = Page((make_run("hidden_profile") / "report.html").read_text())
    assert "Who talks to whom" in read.headings
    assert "None" not in read.text


def test_the_same_run_gives_the_same_bytes(run: Path) -> None:
    before = (run / "report.html").read_bytes()
    assert marl("report", run).out == f"{run}/report.html\n"
    assert (run / "report.html").read_bytes() == before


def test_a_run_that_still_goes_on_can_be_looked_at(tmp_path: Path, run: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (folder / "summary.json").unlink()
    shutil.rmtree(folder / "checkpoints" / "000004")
    assert marl("report", folder).code == 0
    text = (folder / "report.html").read_text()
    assert "not finished" in text
    assert "The log is of update 4; the forks are answered by the checkpoint of 2." in text
    shutil.rmtree(folder / "checkpoints")
    assert marl("report", folder).code == 0
    assert "Not measured: " in (folder / "report.html").read_text()


def test_without_an_evaluation_there_is_nothing_to_report(tmp_path: Path, run: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    shutil.rmtree(folder / "logs")
    result = marl("report", folder)
    assert result.code == 2
    assert "has no evaluation yet" in result.err


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_missing_package_is_one_sentence(package: str, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    result = marl("report", run)
    assert (result.code, result.err) == (2, f"error: this needs the package {package}: pip install 'sabir[report]'\n")


def test_without_torch_the_page_says_what_it_lacks(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    monkeypatch.setitem(sys.modules, "marl.models.language_model", None)
    assert marl("report", folder).code == 0
    assert "Not measured: it needs the policies" in (folder / "report.html").read_text()


def test_a_page_that_cannot_be_written_is_one_sentence(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (folder / "report.html").unlink()
    (folder / "report.html").mkdir()
    result = marl("report", folder)
    assert result.code == 2
    assert result.err == f"error: {folder}/report.html: Is a directory\n"


def test_words_of_an_arena_cannot_break_the_page(run: Path, tmp_path: Path) -> None:
    """A log is data: what stands in it is shown, never run."""
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    log = folder / "logs" / "eval.jsonl.gz"
    log.write_bytes(gzip.compress(gzip.decompress(log.read_bytes()).replace(b"state s0", b"<script>s0</script>")))
    report.write(RunDir(folder))
    text = (folder / "report.html").read_text()
    assert "<script" not in text
    assert "&lt;script&gt;s0" in text


def test_curves_are_text_with_names_at_their_ends() -> None:
    lines = {"first": [(1, 0.0), (2, 1.0)], "second": [(1, 1.0), (2, 1.0)], "none": []}
    chart = curves("A caption.", lines, label="score", levels={"optimum": 1.0}, noisy="first")
    assert chart.caption == "A caption."
    assert [name for name, _ in chart.names] == ["first", "second"]
    for name in ("first", "second", "optimum", "score", "updates"):
        assert re.search(rf">{name}</text>", chart.svg)
    assert "none" not in re.findall(r">([^<]*)</text>", chart.svg)
    assert "<metadata" not in chart.svg
    assert chart == curves("A caption.", lines, label="score", levels={"optimum": 1.0}, noisy="first")


def test_names_that_would_overlap_are_moved_apart() -> None:
    lines = {f"line {i}": [(1, 1.0), (2, 1.0)] for i in range(4)}
    svg = curves("", lines, label="").svg
    heights = sorted(float(y) for y in re.findall(r' y="([\d.]+)"[^>]*>line', svg))
    assert len(heights) == 4
    assert all(below - above > 8 for above, below in pairwise(heights))
