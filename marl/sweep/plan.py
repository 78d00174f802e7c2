"""Plan of a sweep: configurations x seeds, one folder per run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2s
from itertools import product
from pathlib import Path
from typing import Any, Final, NamedTuple

import tomli_w
from pydantic import BaseModel, ConfigDict, Field

from marl.errors import UserError
from marl.rundir.folder import RunDir
from marl.scenario.world import World, load_world
from marl.settings import check, parse, put, read_toml

Axes = dict[str, list[Any]]
"""Dotted setting -> the values it takes."""
SEEDS: Final = 10
"""Runs of each configuration unless it is said (Gorsane et al. 2022)."""
ARENA: Final = "scenario.arena"
TASKS: Final = "tasks"
"""Of a [sweep] table: tables of settings, each laid over the whole configuration; each makes a task of its own."""


class SweepCell(BaseModel):
    """One configuration on one task; its runs differ only in their seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    config: str
    settings: dict[str, Any]
    """All of a run's settings but `seed` and `out`."""
    folder: str | None = None
    """Where its runs are, in the folder of the sweep, if not in TASK/CONFIGURATION."""

    @property
    def path(self) -> str:
        """Folder of its runs, in the folder of the sweep."""
        return self.folder or f"{_slug(self.task)}/{_slug(self.config)}"

    def world(self) -> World:
        """Build the world of its scenario; raises UserError."""
        return load_world(self.settings.get("scenario", {}), self.config)


class SweepRun(NamedTuple):
    """One run of a sweep."""

    cell: SweepCell
    seed: int
    dir: RunDir

    @property
    def name(self) -> str:
        """Display name: task, configuration and seed."""
        return f"{self.cell.task}, {self.cell.config}, seed {self.seed}"


class Sweep(BaseModel):
    """The plan of a sweep, saved as `sweep.toml` in its folder. The first configuration is the baseline."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seeds: list[int] = Field(min_length=1)
    configs: list[SweepCell] = Field(min_length=1)

    def members(self, folder: Path) -> list[SweepRun]:
        """Return all runs, the first seed of each configuration before any second one."""
        return [
            SweepRun(cell, seed, RunDir(folder / cell.path / f"seed-{seed}"))
            for seed in self.seeds
            for cell in self.configs
        ]


class SweepSource(NamedTuple):
    """Settings to sweep over, named after their file or arena."""

    name: str
    settings: dict[str, Any]


def plan(sources: Sequence[SweepSource], words: Sequence[str], seeds: str | None, model: type[BaseModel]) -> Sweep:
    """Plan a sweep from settings, their [sweep] tables and `KEY=V1,V2` words; raises UserError.

    Args:
        sources: what is swept, one or several.
        words: settings for all of them; several values are an axis.
        seeds: "10" for 1 to 10, or "1,5,9"; else what a [sweep] table says, else ten.
        model: of a run's settings.
    """
    options = _words(words)
    chosen = _seeds(_seeds_of_tables(sources) if seeds is None else seeds)
    cells: list[SweepCell] = []
    for name, settings in sources:
        axes = {**_flat(settings.get("sweep", {}), name), **options}
        base = {key: value for key, value in settings.items() if key not in ("sweep", "seed", "out")}
        cells += [
            _cell(name, base, dict(zip(axes, values, strict=True)), axes, model, len(sources) > 1)
            for values in product(*axes.values())
        ]
    cells = with_tasks(cells)
    for i, cell in enumerate(cells):
        for other in cells[:i]:
            if cell.settings == other.settings:
                raise UserError(f"{other.config} and {cell.config} are the same configuration: give each value once")
            if (cell.task, cell.config) == (other.task, other.config):
                raise UserError(f"two configurations are called {cell.config}: give their files different names")
    return Sweep(seeds=chosen, configs=_with_folders(cells))


def begin(folder: Path, wanted: Sweep) -> Sweep:
    """Write `sweep.toml`; raises UserError if the folder holds another sweep.

    A sweep may grow: by seeds, and by configurations.
    """
    path = folder / "sweep.toml"
    if path.is_file():
        there = load(folder)
        names = {(cell.task, cell.config): cell for cell in wanted.configs}
        for cell in there.configs:
            same = names.get((cell.task, cell.config))
            if same is None or same.settings != cell.settings:
                what = "which is not in this one" if same is None else "with other settings"
                name = f"{cell.task}, {cell.config}"
                raise UserError(f"{folder} holds another sweep ({name}, {what}): choose another folder with out=")
        if missing := [seed for seed in there.seeds if seed not in wanted.seeds]:
            raise UserError(f"{folder} holds a sweep with seed {missing[0]} too: a sweep may only grow, see --seeds")
        before = {(cell.task, cell.config): cell for cell in there.configs}
        kept = [before.get((cell.task, cell.config), cell) for cell in wanted.configs]
        wanted = wanted.model_copy(update={"configs": _with_folders(kept, list(before.values()))})
    elif RunDir(folder).exists:
        raise UserError(f"{folder} holds a run, not a sweep: choose another folder with out=")
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "sweep.toml.part"
    part.write_text(tomli_w.dumps(wanted.model_dump(mode="json", exclude_none=True)))
    part.replace(path)
    return wanted


def load(folder: Path) -> Sweep:
    """Read the sweep of a folder; raises UserError."""
    path = folder / "sweep.toml"
    if not path.is_file():
        what = "holds no sweep: it has no sweep.toml" if folder.exists() else "does not exist"
        raise UserError(f"{folder} {what}; `marl sweep FILE out={folder}` makes one")
    return check(Sweep, read_toml(path), str(path))


def _words(words: Sequence[str]) -> Axes:
    """Return the values of each `KEY=V1,V2`."""
    axes: Axes = {}
    for word in words:
        dotted, equals, raw = word.partition("=")
        if not equals or not dotted:
            raise UserError(f"a setting looks like algorithm.credit=team,sequential, not {word!r}")
        _no_seed(dotted, "the command line")
        whole = parse(f"[{raw}]")
        axes[dotted] = whole if isinstance(whole, list) else [parse(part) for part in _split(raw)]
        if not axes[dotted]:
            raise UserError(f"{word}: give at least one value, such as {dotted}=V1,V2")
    return axes


def _split(raw: str) -> list[str]:
    """Split at commas outside brackets."""
    return re.split(r",(?![^\[{]*[\]}])", raw)


def _flat(table: Any, name: str, prefix: str = "") -> Axes:
    """Return the axes of a [sweep] table, whose tables may be nested."""
    if not isinstance(table, dict):
        raise UserError(f"{name}: sweep: a table of settings, each with a list of values")
    axes: Axes = {}
    for key, value in table.items():
        dotted = prefix + key
        if dotted == "seeds":
            continue
        _no_seed(dotted, f"{name}: sweep")
        if isinstance(value, dict):
            axes |= _flat(value, name, f"{dotted}.")
        elif dotted == TASKS and not (isinstance(value, list) and value and all(isinstance(v, dict) for v in value)):
            raise UserError(f"{name}: sweep.{TASKS}: a list of tables of settings, one for each task")
        elif not isinstance(value, list) or not value:
            raise UserError(f"{name}: sweep.{dotted}: a list of at least one value, such as [0.001, 0.0005]")
        else:
            axes[dotted] = value
    return axes


def _no_seed(dotted: str, where: str) -> None:
    if dotted in ("seed", "seeds"):
        raise UserError(f"{where}: seeds are not a setting to sweep: --seeds 10, or seeds = 10 in [sweep]")
    if dotted == "out":
        raise UserError(f"{where}: out is the folder of the whole sweep: give it once, as out=FOLDER")


def _seeds_of_tables(sources: Sequence[SweepSource]) -> Any:
    """Return the seeds of the [sweep] tables; raises UserError if they disagree."""
    tables = {name: settings.get("sweep") for name, settings in sources}
    by_source = {name: table["seeds"] for name, table in tables.items() if isinstance(table, dict) and "seeds" in table}
    if any(seeds != next(iter(by_source.values())) for seeds in by_source.values()):
        raise UserError(f"{' and '.join(by_source)} have different seeds in [sweep]: choose with --seeds")
    return next(iter(by_source.values()), SEEDS)


def _seeds(value: Any) -> list[int]:
    """Return seeds from 10, "10", [1, 5] or "1,5"."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
    try:
        numbers = [int(part) for part in parts]
    except (TypeError, ValueError):
        raise UserError(f"seeds: a number, such as 10, or a list, such as 1,2,5; not {value!r}") from None
    several = isinstance(value, list) or len(parts) > 1
    seeds = numbers if several else list(range(1, (numbers or [0])[0] + 1))
    if not seeds:
        raise UserError("seeds: at least one is needed")
    if len(set(seeds)) < len(seeds):
        raise UserError(f"seeds: {next(s for s in seeds if seeds.count(s) > 1)} is given twice")
    return seeds


def _cell(
    name: str, base: dict[str, Any], point: dict[str, Any], axes: Axes, model: type[BaseModel], several: bool
) -> SweepCell:
    """Return the cell at one point of the axes."""
    settings = base
    parts: dict[str, Any] = {}
    for dotted, value in point.items():
        leaves = _leaves(value, "" if dotted == TASKS else f"{dotted}.") if isinstance(value, dict) else {dotted: value}
        for key, leaf in leaves.items():
            settings = put(settings, key, leaf)
        if len(axes[dotted]) > 1 and dotted not in (TASKS, ARENA) and not dotted.startswith(f"{ARENA}."):
            parts |= leaves
    config = check(model, settings, name).model_dump(mode="json", exclude_none=True, exclude={"seed", "out"})
    short = [key.rpartition(".")[2] for key in parts]
    words = [
        f"{last if short.count(last) == 1 else key}={_text(leaf)}"
        for last, (key, leaf) in zip(short, parts.items(), strict=True)
    ]
    cell = SweepCell(task="", config=" ".join([name] * (several or not words) + words), settings=config)
    cell.world()  # raises UserError for an arena, a channel or a topology that cannot be
    return cell


def _leaves(value: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, below in value.items():
        leaves |= _leaves(below, f"{prefix}{key}.") if isinstance(below, dict) else {f"{prefix}{key}": below}
    return leaves


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else re.sub(r"[\s'\"]", "", str(value))


def with_tasks(cells: list[SweepCell]) -> list[SweepCell]:
    """Name the task of each cell: its arena, and the parameters in which arenas of one name differ."""
    arenas = [cell.settings["scenario"]["arena"] for cell in cells]
    tasks = []
    for arena in arenas:
        alike = [other for other in arenas if other["name"] == arena["name"]]
        keys = {key for other in alike for key in other if _differ(alike, key)}
        words = [arena["name"], *(f"{key}={_text(arena[key])}" for key in sorted(keys) if key in arena)]
        tasks.append(" ".join(words))
    return [cell.model_copy(update={"task": task}) for cell, task in zip(cells, tasks, strict=True)]


def _with_folders(cells: Sequence[SweepCell], before: Sequence[SweepCell] = ()) -> list[SweepCell]:
    """Give cells whose names make the same folder one each, by a digest of the name; those of `before` keep theirs."""
    places = Counter(cell.path for cell in {(cell.task, cell.config): cell for cell in (*cells, *before)}.values())
    return [
        cell if cell in before or places[cell.path] < 2 else cell.model_copy(update={"folder": _distinct(cell)})
        for cell in cells
    ]


def _distinct(cell: SweepCell) -> str:
    digest = blake2s(f"{cell.task}\n{cell.config}".encode(), digest_size=4).hexdigest()
    return f"{_slug(cell.task)}/{_slug(cell.config)[:108]}-{digest}"


def _differ(settings: Sequence[dict[str, Any]], key: str) -> bool:
    """Whether settings differ in the value of a key."""
    return any(one.get(key) != settings[0].get(key) for one in settings)


def _slug(label: str) -> str:
    """Return a label as the name of a folder."""
    return re.sub(r"[^\w.=+-]+", "_", label)[:120].strip("_") or "_"
