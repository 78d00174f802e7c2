"""What a sweep is made of, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marl.errors import UserError
from marl.rundir.folder import RunDir
from marl.sweep.plan import Sweep, SweepSource, begin, load, plan
from trainers.run_config import RunConfig

LEWIS: dict[str, Any] = {"scenario": {"arena": {"name": "lewis"}}, "out": "runs/elsewhere", "seed": 9}


def made(*words: str, seeds: str | None = None, sources: list[SweepSource] | None = None, **settings: Any) -> Sweep:
    return plan(sources or [SweepSource("base", {**LEWIS, **settings})], words, seeds, RunConfig)


def names(sweep: Sweep) -> list[tuple[str, str]]:
    return [(cell.task, cell.config) for cell in sweep.configs]


def test_every_combination_of_values_is_a_configuration() -> None:
    sweep = made("algorithm.credit=sequential,team", "algorithm.lr=1e-3,1e-4", "updates=7")
    assert names(sweep) == [
        ("lewis", "credit=sequential lr=0.001"),
        ("lewis", "credit=sequential lr=0.0001"),
        ("lewis", "credit=team lr=0.001"),
        ("lewis", "credit=team lr=0.0001"),
    ]
    algorithms = [cell.settings["algorithm"] for cell in sweep.configs]
    assert [(a["credit"], a["lr"]) for a in algorithms][2] == ("team", 0.001)
    assert {cell.settings["updates"] for cell in sweep.configs} == {7}
    assert not {"seed", "out", "sweep"} & sweep.configs[0].settings.keys()


def test_a_table_in_the_file_says_the_same_and_the_command_line_wins() -> None:
    table = {"seeds": [4, 2], "algorithm": {"credit": ["sequential", "team"]}, "updates": [3]}
    assert made(sweep=table) == made("algorithm.credit=sequential,team", "updates=3", seeds="4,2")
    assert names(made("algorithm.credit=individual", sweep=table)) == [("lewis", "base")]
    assert made(sweep=table, seeds="2").seeds == [1, 2]
    dotted = {"algorithm.credit": ["sequential", "team"]}
    assert made(sweep=dotted).configs == made("algorithm.credit=sequential,team").configs


def test_settings_that_go_together_are_tables() -> None:
    pairs = [{"critic": "own", "credit": "individual"}, {"critic": "central", "credit": "team"}]
    sweep = made(sweep={"algorithm": pairs}, algorithm={"lr": 0.01})
    assert [config for _, config in names(sweep)] == ["critic=own credit=individual", "critic=central credit=team"]
    assert {cell.settings["algorithm"]["lr"] for cell in sweep.configs} == {0.01}  # the rest of the table stays


def test_arenas_are_tasks_and_everything_else_is_compared() -> None:
    sweep = made("scenario.arena.n=3,4", "scenario.arena.k=4", "scenario.closed=[],['public']")
    assert names(sweep) == [
        (task, config) for task in ("lewis n=3", "lewis n=4") for config in ("closed=[]", "closed=[public]")
    ]
    one = names(made("scenario.arena.name=lewis,matrix"))
    assert one == [("lewis", "base"), ("matrix", "base")]


def test_tasks_have_settings_of_their_own_which_algorithms_are_laid_over() -> None:
    tasks = [
        {"scenario": {"arena": {"n": 3}}, "updates": 5, "algorithm": {"lr": 0.01, "forks": 1}},
        {"scenario": {"arena": {"name": "matrix", "game": "penalty"}}, "policy": {"width": 32}},
    ]
    table = {"tasks": tasks, "algorithm": [{"credit": "team"}, {"credit": "sequential", "forks": 2}]}
    sweep = made(sweep=table, updates=9)
    assert names(sweep) == [
        (task, config) for task in ("lewis", "matrix") for config in ("credit=team", "credit=sequential forks=2")
    ]
    tables = [cell.settings for cell in sweep.configs]
    assert [(settings["updates"], settings["policy"]["width"]) for settings in tables[1:3]] == [
        (5, tables[0]["policy"]["width"]),
        (9, 32),
    ]
    assert [(a["lr"], a["forks"]) for a in (settings["algorithm"] for settings in tables[:2])] == [(0.01, 1), (0.01, 2)]
    assert {cell.settings["updates"] for cell in made("updates=2", sweep=table).configs} == {2}  # the command line wins


def test_several_files_are_several_configurations() -> None:
    sources = [SweepSource("mappo", LEWIS), SweepSource("ippo", {**LEWIS, "algorithm": {"critic": "own"}})]
    sweep = made("algorithm.lr=1e-3,1e-4", sources=sources)
    assert [config for _, config in names(sweep)][::2] == ["mappo lr=0.001", "ippo lr=0.001"]


@pytest.mark.parametrize(
    ("told", "seeds"), [(None, [*range(1, 11)]), ("3", [1, 2, 3]), ("7,", None), ("5,1", [5, 1]), ("0", None)]
)
def test_seeds_are_a_number_or_a_list(told: str | None, seeds: list[int] | None) -> None:
    if seeds is None:
        with pytest.raises(UserError, match="seeds: "):
            made(seeds=told)
    else:
        assert made(seeds=told).seeds == seeds


def test_runs_have_folders_of_their_own_and_come_seed_by_seed(tmp_path: Path) -> None:
    members = made("algorithm.credit=sequential,team", seeds="2").members(tmp_path)
    assert [(m.dir.path.relative_to(tmp_path).as_posix(), m.seed) for m in members] == [
        ("lewis/credit=sequential/seed-1", 1),
        ("lewis/credit=team/seed-1", 1),
        ("lewis/credit=sequential/seed-2", 2),
        ("lewis/credit=team/seed-2", 2),
    ]


@given(st.lists(st.sampled_from(["critic", "credit", "lr", "lam", "gamma"]), min_size=1, unique=True), st.data())
def test_no_two_configurations_are_the_same(keys: list[str], data: st.DataObject) -> None:
    values = {
        "critic": ["central", "own"],
        "credit": ["sequential", "team", "individual"],
        "lr": ["1e-3", "1e-4"],
        "lam": ["0.9", "0.95", "1.0"],
        "gamma": ["0.9", "1.0"],
    }
    chosen = {k: data.draw(st.lists(st.sampled_from(values[k]), min_size=1, max_size=2, unique=True)) for k in keys}
    sweep = made(*(f"algorithm.{k}={','.join(v)}" for k, v in chosen.items()), seeds="1")
    count = 1
    for v in chosen.values():
        count *= len(v)
    assert len({member.dir.path for member in sweep.members(Path("out"))}) == len(sweep.configs) == count


def test_what_is_read_from_a_folder_is_what_was_begun(tmp_path: Path) -> None:
    sweep = made("scenario.channel=[],[{type='noise',p=0.1}]", "stop_at=0.5", seeds="2")
    assert begin(tmp_path / "new" / "sweep", sweep) == sweep
    assert load(tmp_path / "new" / "sweep") == sweep


def test_a_sweep_may_grow_and_nothing_else(tmp_path: Path) -> None:
    small = made("algorithm.credit=sequential,team", seeds="2")
    begin(tmp_path, small)
    for larger in (made("algorithm.credit=sequential,team,individual", seeds="2"), made(sweep={}, seeds="3")):
        if len(larger.configs) == 3:
            assert load(tmp_path) != begin(tmp_path, larger)
            continue
        with pytest.raises(UserError, match="holds another sweep"):
            begin(tmp_path, larger)
    three = ("algorithm.credit=sequential,team,individual",)
    begin(tmp_path, made(*three, seeds="4"))
    with pytest.raises(UserError, match="holds a sweep with seed 4 too"):
        begin(tmp_path, made(*three, seeds="3"))
    with pytest.raises(UserError, match="credit=sequential, with other settings"):
        begin(tmp_path, made(*three, "updates=3", seeds="4"))
    assert load(tmp_path).seeds == [1, 2, 3, 4]


def test_the_folder_of_a_run_is_no_place_for_a_sweep(tmp_path: Path) -> None:
    RunDir(tmp_path).config.write_text("")
    with pytest.raises(UserError, match="holds a run, not a sweep"):
        begin(tmp_path, made(seeds="1"))
    assert not (tmp_path / "sweep.toml").exists()


@pytest.mark.parametrize(
    ("words", "settings", "sentence"),
    [
        (["algorithm.credt=team"], {}, "base: there is no setting algorithm.credt; did you mean algorithm.credit?"),
        (["algorithm.credit=team,tem"], {}, "base: algorithm.credit: Input should be"),
        (["algorithm.credit=team,team"], {}, "credit=team and credit=team are the same configuration"),
        (["updates="], {}, "updates=: give at least one value"),
        (["updates"], {}, "a setting looks like algorithm.credit=team,sequential, not 'updates'"),
        (["seed=1,2"], {}, "the command line: seeds are not a setting to sweep: --seeds 10"),
        (["scenario.arena.n=1"], {}, "base: lewis needs n >= 2 states"),
        (["scenario.closed=['side']"], {}, "there is no channel 'side' to close"),
        (["episodes.x=1"], {"episodes": 4}, "episodes.x: episodes is a value, not a table"),
        ([], {"sweep": {"updates": []}}, "base: sweep.updates: a list of at least one value"),
        ([], {"sweep": {"updates": 3}}, "base: sweep.updates: a list of at least one value"),
        ([], {"sweep": 3}, "base: sweep: a table of settings"),
        ([], {"sweep": {"tasks": []}}, "base: sweep.tasks: a list of tables of settings, one for each task"),
        ([], {"sweep": {"tasks": ["lewis"]}}, "base: sweep.tasks: a list of tables of settings, one for each task"),
        ([], {"sweep": {"out": ["a"]}}, "base: sweep: out is the folder of the whole sweep"),
        ([], {"sweep": {"seeds": "many"}}, "seeds: a number, such as 10, or a list, such as 1,2,5; not 'many'"),
        ([], {"sweep": {"seeds": [1, 1]}}, "seeds: 1 is given twice"),
        ([], {"sweep": {"seeds": []}}, "seeds: at least one is needed"),
    ],
)
def test_what_cannot_be_swept_is_one_sentence(words: list[str], settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as raised:
        made(*words, **settings)
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_files_with_different_seeds_want_a_decision() -> None:
    sources = [
        SweepSource("a", {**LEWIS, "sweep": {"seeds": 2}}),
        SweepSource("b", {**LEWIS, "sweep": {"seeds": 3}, "updates": 9}),
    ]
    with pytest.raises(UserError, match="a and b have different seeds"):
        made(sources=sources)
    assert made(sources=sources, seeds="1").seeds == [1]
    with pytest.raises(UserError, match="two configurations are called b"):
        made(sources=[SweepSource("b", LEWIS), SweepSource("b", {**LEWIS, "updates": 9})])


def test_a_folder_without_or_with_a_damaged_sweep_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no sweep"):
        load(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        load(tmp_path / "none")
    (tmp_path / "sweep.toml").write_text("seeds = []\nconfigs = []")
    with pytest.raises(UserError, match="seeds: List should have at least 1 item"):
        load(tmp_path)


def test_names_that_make_one_folder_get_folders_of_their_own(tmp_path: Path) -> None:
    effects = [[f'{{type="delay",seconds={n}.5}}' for n in (*range(8), last)] for last in (8, 9)]
    delays = [f"[{','.join(effect)}]" for effect in effects]
    sweep, other = made(f"scenario.channel={','.join(delays)}"), made(f"scenario.channel={delays[0]}")
    folders = [cell.path for cell in sweep.configs]
    assert len(set(folders)) == 2
    assert all(len(part) <= 120 for folder in folders for part in folder.split("/"))
    assert other.configs[0].folder is None
    begin(tmp_path, sweep)
    assert [cell.path for cell in load(tmp_path).configs] == folders


def test_a_sweep_that_grows_keeps_the_folders_it_has(tmp_path: Path) -> None:
    sweep = made("device='a?','b?'")
    begin(tmp_path, sweep)
    grown = begin(tmp_path, made("device='a!','a?','b?'"))
    places = {cell.config: cell.path for cell in grown.configs}
    assert places["device=a?"] == sweep.configs[0].path == "lewis/device=a"
    assert len(set(places.values())) == 3
    assert load(tmp_path) == grown
