"""The page of a study: it stands alone, and in a real browser every plot of it draws, on a phone too."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from marl.metrics.measure import Interval, measured, undefined
from marl.policy.scripted import Scripted
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.rundir.folder import RunDir
from marl.rundir.load import Trained
from marl.study.across_runs import pooled
from marl.study.data import corpus
from marl.study.data.result import ListenerEffect, MessageCredit, RunStudy, Study
from marl.study.experiments.crossplay import crossplay
from marl.study.history import history
from marl.study.language import summary as language
from marl.study.page import page
from protocols.log import Log
from tests.marl.worlds import world

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
EVIL = "</script><script>alert(1)</script>"


def code(shift: int) -> dict[str, Scripted]:
    """Agents of a population who play lewis, and say state i with symbol i + shift."""

    def reply(heard: Any, spec: Any) -> str:
        if spec.kind == "say":
            return f"m{(int(heard[-1].body[-1]) + shift) % 4}"
        return f"s{(int(heard[-2].body[-1]) - shift) % 4}" if len(heard) > 1 else "s0"

    return {f"agent_{i}": Scripted(reply) for i in range(3)}


@pytest.fixture(scope="module")
def studied() -> tuple[Study, list[Log]]:
    """Two runs of a population, studied: one learned a new code in the middle of its training."""
    here = world("population", arena={"agents": 3})
    training = []
    for update in range(4):
        plans = [Plan(f"train-{update}-{i}", code(update // 2), 1, {"case": i % 24}) for i in range(70)]
        training += [episode.log for episode in collect(here, plans)]
    logs = [e.log for e in collect(here, [Plan(f"e{case}", code(1), 1, {"case": case}) for case in range(24)])]
    languages = [language.measure(own, *who) for who, own in corpus.by_speaker(corpus.from_logs(logs)).items()]
    said = next(entry.envelope for entry in logs[0].entries if entry.envelope.kind == "say")
    half = Interval(low=0.4, high=0.6, of="bootstrap over 2 runs")
    run = RunStudy(
        name=EVIL,
        source="runs/one",
        arena="population",
        seed=1,
        update=4,
        episodes=len(logs),
        scores={"score": measured("score", 0.5, unit="score", n=24, interval=half)},
        languages=languages,
        effects=[
            ListenerEffect(speaker="agent_0", listener="agent_1", measures={"gap": undefined("gap", "nobody listens")})
        ],
        credits=[
            MessageCredit(
                episode=logs[0].episode,
                seq=said.seq,
                speaker=said.sender,
                meaning="state s0",
                message=said.body,
                score=1.0,
                without=0.25,
                credit=0.75,
            )
        ],
        history=history(training),
        remarks=["two things were left out"],
    )
    runs = [Trained(RunDir(Path(f"runs/{name}")), here, code(k), 1, 0) for k, name in enumerate(("one", "two"))]
    both = [run, run.model_copy(update={"name": "the other one"})]
    return Study(seed=0, permutations=50, runs=both, across=pooled(both), crossplay=crossplay(runs)), logs


@pytest.fixture(scope="module")
def written(studied: tuple[Study, list[Log]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    study, logs = studied
    path = tmp_path_factory.mktemp("page") / "study.html"
    page.write(path, study, study.runs[0], logs)
    return path


def data(path: Path) -> dict[str, Any]:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.DOTALL)
    decoded: dict[str, Any] = json.loads(text)
    return decoded


def test_every_figure_is_one_that_plotly_knows(written: Path) -> None:
    graph = pytest.importorskip("plotly.graph_objects")
    book = data(written)
    titles = [plot["layout"].get("xaxis", {}).get("title", {}).get("text") for plot in book["plots"].values()]
    assert titles[:10] == ["updates"] * 3 + ["message", ""] * 3 + [None]  # history, languages, ties
    assert "as they speak" in titles[10:]  # cross-play
    assert {"bits", "share"} <= {*titles[10:]}  # all runs
    assert len(book["episodes"]) == 6
    for plot in [*book["plots"].values(), *book["episodes"]]:
        graph.Figure(data=plot["data"], layout=plot["layout"], frames=plot.get("frames", []))


def test_the_page_stands_alone_and_words_of_a_log_stay_words(written: Path) -> None:
    text = written.read_text()
    assert text.count("plotly.js v") == 1
    own = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert not re.findall(r'(?:src|href)="', own)
    assert EVIL not in text
    assert text.count("alert(1)") > 1  # the name stands in the title and in the plots
    assert "nobody listens" in own
    assert "two things were left out" in own.lower()


def test_a_heat_map_holds_the_code_and_an_episode_what_a_message_was_worth(written: Path) -> None:
    book = data(written)
    heat = next(p for p in book["plots"].values() if p["data"] and p["data"][0].get("y", [""])[0] == "state s0")
    assert heat["data"][0]["x"] == ["m1", "m2", "m3", "m0"]
    assert heat["data"][0]["z"] == [[float(i == j) for j in range(4)] for i in range(4)]
    texts = [text for episode in book["episodes"] for text in episode["data"][2]["text"]]
    assert "<b>m1 (+0.75)</b>" in texts
    frames = book["episodes"][0]["frames"]
    assert [len(frame["data"][2]["text"]) for frame in frames] == [*range(1, len(frames) + 1)]


def test_a_study_of_nothing_is_a_page_too(tmp_path: Path) -> None:
    run = RunStudy(name="silent", source="x.jsonl", episodes=0, remarks=["no message was sent"])
    path = tmp_path / "study.html"
    page.write(path, Study(seed=0, permutations=1, runs=[run]), run)
    assert data(path) == {"plots": {}, "episodes": []}
    assert "No message was sent." in path.read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here, so no page can be opened")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        unboxed = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses to be root's in its sandbox
        opened = started.chromium.launch(executable_path=CHROMIUM, args=unboxed)
        yield opened
        opened.close()


@pytest.mark.parametrize("width", [1200, 390])
def test_in_a_browser_every_plot_draws_without_a_network(written: Path, browser: Any, width: int) -> None:
    complaints: list[str] = []
    tab = browser.new_page(viewport={"width": width, "height": 844})
    tab.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: complaints.append(request.url) if request.url.startswith("http") else None)
    tab.goto(written.as_uri())
    tab.wait_for_selector("body[data-drawn]", timeout=60_000)
    assert tab.evaluate("document.scripts.length") == 3  # the library, the data, and what draws them
    charts = tab.query_selector_all(".chart")
    assert len(charts) == len(data(written)["plots"])
    for chart in charts:
        assert chart.query_selector_all(".scatterlayer .trace, .heatmaplayer .hm"), "nothing is drawn"
        box = chart.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    drawn = "document.querySelectorAll('[data-play] .textpoint').length"
    assert tab.evaluate(drawn) == len(data(written)["episodes"][0]["data"][2]["text"])
    tab.select_option("#choose", "1")
    tab.wait_for_function("document.querySelector('[data-play] ~ figcaption').textContent.startsWith('e1:')")
    tab.click("[data-play] .updatemenu-button")
    tab.wait_for_function(f"{drawn} == 1")  # it begins anew
    assert complaints == []
    tab.close()
