from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest
from pydantic import BaseModel, TypeAdapter
from typer.main import get_command

import arenas
from arenas.solvers.measure import best
from arenas.testing.suite import check_arena
from marl.cli.app import app
from marl.intervention.config import InterventionConfig
from marl.policy.openai_client import EndpointSettings
from marl.policy.scripted import Scripted
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.scenario.config import Scenario
from marl.scenario.world import World
from marl.tools import TOOLS, ToolConfig
from protocols import log
from trainers.algorithm import AlgorithmConfig, ShapingConfig
from trainers.entropy import EntropyConfig
from trainers.population.league import LeagueConfig
from trainers.run_config import RunConfig

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
NOT_RUN = re.compile(r"<!-- not run: .+ -->\s*\Z")
"""A comment just before a snippet that cannot run here, with the reason."""


class Snippet(NamedTuple):
    language: str
    line: int
    text: str
    runs: bool


def snippets(page: Path) -> Iterator[Snippet]:
    text = page.read_text()
    for fence in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        before = text[: fence.start()]
        yield Snippet(fence[1], before.count("\n") + 2, fence[2], NOT_RUN.search(before) is None)


def prose(page: Path) -> str:
    """Return a page without its snippets."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def python(page: Path) -> list[Snippet]:
    return [s for s in snippets(page) if s.language == "python" and s.runs]


def run(page: Path) -> dict[str, Any]:
    """Run the Python snippets of a page in order, as one program."""
    names: dict[str, Any] = {"__name__": "page"}
    for snippet in python(page):
        # Blank lines in front, so that a failure shows its line in the page.
        exec(compile("\n" * (snippet.line - 1) + snippet.text, str(page), "exec"), names)
    return names


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages may write files and register arenas; those that other tests registered are not theirs."""
    monkeypatch.chdir(tmp_path)
    own = {name: arena for name, arena in arenas.ARENAS.items() if arena.__module__.startswith("arenas.")}
    monkeypatch.setattr(arenas, "ARENAS", own)


@pytest.mark.parametrize("page", [page for page in PAGES if python(page)], ids=name)
def test_snippets_run(page: Path) -> None:
    run(page)


def test_the_arena_of_contributing_is_sound_and_short() -> None:
    page = ROOT / "CONTRIBUTING.md"
    rendezvous = run(page)["Rendezvous"]
    check_arena(rendezvous)
    (snippet,) = [s.text for s in python(page) if "class Rendezvous" in s.text]
    assert len([line for line in snippet.partition("\n\n\n")[2].splitlines() if line.strip()]) < 30
    best: dict[tuple[str, str], float] = {}
    places = ("p0", "p1", "p2")
    arena = rendezvous()
    paid: dict[tuple[int, str, str], float] = {}
    for case in range(arena.cases):
        for first in places:
            for second in places:
                arena.begin(0, case=case)
                arena.resolve(dict.fromkeys(arena.acting(), ("m0",)))
                outcome = arena.resolve(dict(zip(arena.acting(), ((first,), (second,)), strict=True)))
                paid[case, first, second] = outcome.rewards["traveller_0"]
    rules = [(a, b, c) for a in places for b in places for c in places]  # where to go, by one's own closed place
    for one in rules:
        for other in rules:
            total = sum(paid[case, one[case // 3], other[case % 3]] for case in range(9))
            best["".join(one), "".join(other)] = total / 9
    anchors = arena.anchors()
    assert anchors.silent == pytest.approx(max(best.values()))
    assert anchors.random == pytest.approx(sum(paid.values()) / len(paid))
    assert anchors.full == min(max(paid[case, a, b] for a in places for b in places) for case in range(9))


def test_every_test_that_holds_off_a_pitfall_exists() -> None:
    named = re.findall(r"`(tests/\S+\.py)::(\w+)`", (ROOT / "docs/pitfalls.md").read_text())
    assert len(named) > 27
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(), f"docs/pitfalls.md names {file}::{test}"


def anchor(heading: str) -> str:
    """Return the anchor that a heading gets where the pages are shown."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in target:
            continue
        path, _, fragment = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{name(page)} links to {target}"
        if fragment and there.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", there.read_text(), re.MULTILINE)
            assert fragment in map(anchor, headings), f"{name(page)} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_that_are_named_exist(page: Path) -> None:
    packages = "protocols|arenas|marl|trainers|tests|examples|docs|benchmarks"
    for path in re.findall(rf"`((?:{packages})/[\w./]*)`", page.read_text()):
        assert (ROOT / path).exists(), f"{name(page)} names {path}"


def commands() -> Iterator[tuple[Path, list[str]]]:
    """Yield the command lines that the pages show, in console snippets and in running text."""
    for page in PAGES:
        lines = [line for s in snippets(page) for line in s.text.splitlines() if s.language == "console"]
        lines = [line.removeprefix("$ ").partition(" #")[0] for line in lines]
        for line in [*lines, *re.findall(r"`((?:marl|make) [^`]+)`", prose(page))]:
            yield page, line.split()


def test_marl_commands_and_their_options_exist() -> None:
    by_name = get_command(app).commands  # type: ignore[attr-defined]
    seen = set()
    for page, (program, *words) in commands():
        if program != "marl" or words[0].isupper() or words[0].startswith("--"):
            continue
        assert words[0] in by_name, f"{name(page)}: there is no marl {words[0]}"
        seen.add(words[0])
        options = {option for parameter in by_name[words[0]].params for option in parameter.opts} | {"--help"}
        for word in words[1:]:
            option = word.partition("=")[0]
            assert not option.startswith("--") or option in options, f"{name(page)}: marl {words[0]} has no {option}"
    assert seen == set(by_name), "the README names every command"


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page, (program, *words) in commands():
        assert program != "make" or words[0] in targets, f"{name(page)}: there is no make {words[0]}"


def rows(page: str) -> dict[str, list[str]]:
    """Return the rows of a page's tables by their first cell, without the backticks."""
    table = {}
    for line in (ROOT / page).read_text().splitlines():
        if line.startswith("| `"):
            first, *cells = (cell.strip().strip("`") for cell in line.strip("|").split("|"))
            table[first] = cells
    return table


@pytest.mark.parametrize(
    ("model", "prefix"),
    [
        (AlgorithmConfig, ""),
        (EntropyConfig, "entropy."),
        (ShapingConfig, "shaping."),
        (LeagueConfig, "league."),
        (RunConfig, ""),
        (ToolConfig, ""),
        (EndpointSettings, ""),
    ],
)
def test_every_setting_is_listed_with_its_default(model: type[BaseModel], prefix: str) -> None:
    page = {ToolConfig: "docs/tools.md", EndpointSettings: "docs/endpoints.md"}.get(model, "docs/training.md")
    listed = rows(page)
    for setting, field in model.model_fields.items():
        assert prefix + setting in listed, f"{page} lacks {prefix}{setting}"
        default = field.default
        if isinstance(default, bool | int | float):
            assert listed[prefix + setting][0] == str(default).lower()
        elif isinstance(default, str | Path):
            assert listed[prefix + setting][0].strip('"') == str(default) or not default


def test_every_tool_is_listed() -> None:
    own = {name for name, factory in TOOLS.items() if factory.__module__.startswith("marl.")}
    assert own <= rows("docs/tools.md").keys()


def test_every_intervention_is_listed_with_settings_that_it_has() -> None:
    listed = [tomllib.loads(f"it = {first}")["it"] for first in rows("docs/concepts.md") if first.startswith("{type")]
    kinds = {kind.model_fields["type"].default: kind for kind in get_args(get_args(InterventionConfig)[0])}
    assert sorted(settings["type"] for settings in listed) == sorted(kinds)
    for settings in listed:
        assert isinstance(TypeAdapter(InterventionConfig).validate_python(settings), kinds[settings["type"]])


def test_the_arenas_are_listed_with_their_parameters_and_anchors() -> None:
    listed = rows("docs/arenas.md")
    for arena_name in arenas.names():
        arena = arenas.make(arena_name, **eval(f"dict({listed[arena_name][1]})"))
        anchors = arenas.make(arena_name).anchors()
        assert arena.anchors() == anchors
        shown = [float(cell) for cell in listed[arena_name][2:]]
        assert shown == pytest.approx([anchors.random, anchors.silent, anchors.full], abs=5e-3)


def test_the_log_file_that_is_shown_is_one() -> None:
    (shown,) = [s.text for s in snippets(ROOT / "docs/protocols.md") if s.language == "text"]
    world = World(Scenario.model_validate({"arena": {"name": "lewis"}}))
    seats = {"sender_0": Scripted(lambda heard, spec: "m2"), "receiver_0": Scripted(lambda heard, spec: "s2")}
    (episode,) = collect(world, [Plan("first", seats, 1, {"case": 2})])
    lines = shown.splitlines()
    assert lines[-1] == "..."
    assert log.dump([episode.log]).decode().splitlines()[: len(lines) - 1] == lines[:-1]


def test_the_table_of_anchors_is_in_step_with_the_arenas() -> None:
    """`make anchors` writes it anew: names and known scores are those of the code; what was played is not repeated."""
    listed = rows("docs/anchors.md")
    assert list(listed) == arenas.names(), "run `make anchors`"
    for arena_name, cells in listed.items():
        arena = arenas.make(arena_name)
        anchors = arena.anchors()
        scores = [f"{x:.4g}" for x in (anchors.random, anchors.silent, anchors.full)]
        assert [cells[0], cells[2], cells[4], cells[6]] == [str(len(arena.possible_agents)), *scores]
        assert cells[8] == (best(arena.scripts()) if arena.scripts() else "–")


def test_every_setting_of_a_pretrained_policy_is_described() -> None:
    from marl.policy.config import HfPolicy, LoraSettings

    page = (ROOT / "docs/models.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([\w.]+)`", row)}
    fields = {name for name in HfPolicy.model_fields if name not in ("type", "lora")}
    assert named == fields | {f"lora.{name}" for name in LoraSettings.model_fields}
