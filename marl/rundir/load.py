"""Load a run folder: the world of its scenario and the policies of its newest checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marl.errors import UserError
from marl.policy.base import Seats
from marl.policy.config import HfPolicy, policy_names
from marl.rundir.folder import RunDir
from marl.scenario import arena_file
from marl.scenario.world import World, load_world
from marl.settings import check, read_toml

if TYPE_CHECKING:
    from marl.models.language_model import LanguageModel


@dataclass(frozen=True, slots=True)
class Trained:
    """The trained policies of a run by seat. `version` is the number of updates, `seed` the run's."""

    dir: RunDir
    world: World
    seats: Seats
    version: int
    seed: int


def run_dir(path: Path | str) -> RunDir:
    """Return a run's folder; raises UserError where there is none."""
    folder = RunDir(Path(path))
    if not folder.exists:
        what = "is not a run folder: it has no config.toml" if folder.path.exists() else "does not exist"
        raise UserError(f"{path} {what}; `marl train ARENA out={path}` makes one")
    return folder


def scene(folder: RunDir) -> World:
    """Build the world of a run's scenario; its arena file, if any, is imported. Raises UserError."""
    settings = _table(read_toml(folder.config), "scenario", folder)
    return load_world(arena_file.admit(settings, folder.path), str(folder.config))


def trained(path: Path | str, *, play_in: World | None = None) -> Trained:
    """Load the newest checkpoint of a run; raises UserError for anything that is missing or damaged.

    Args:
        path: the run's folder.
        play_in: where the policies are to play, if not in the world they were trained in.
    """
    folder = run_dir(path)
    settings = read_toml(folder.config)
    home = scene(folder)
    checkpoint = folder.newest()
    names = _names(settings, home, checkpoint)
    from marl.inference.server import PolicyServer, serve

    if threads := int(settings.get("threads", 1)):
        import torch

        torch.set_num_threads(threads)
    version = _version(checkpoint)
    servers: dict[str, PolicyServer] = {}
    folders = {name: checkpoint / "policies" / name for name in names.values()}
    for name, lm in _loaded(settings, home, folders).items():
        servers[name] = serve(lm, name)
        servers[name].publish(version)
    seats = {seat: servers[name] for seat, name in names.items()}
    return Trained(folder, play_in or home, seats, version, int(settings.get("seed", 0)))


def pretrained(run: Trained) -> bool:
    """Whether a run's policies are adapters of pretrained models."""
    return "hf" in read_toml(run.dir.config).get("policy", {})


def models(run: Trained) -> dict[str, LanguageModel]:
    """Return the models of a run's seats."""
    from marl.inference.server import PolicyServer

    return {seat: policy.lm for seat, policy in run.seats.items() if isinstance(policy, PolicyServer)}


def frozen(run: Trained) -> Iterator[tuple[int, dict[str, LanguageModel]]]:
    """Load the frozen versions of a run's league one by one; raises UserError for an incomplete one."""
    try:
        state = json.loads((run.dir.newest() / "state.json").read_text())
        versions = [int(version) for version in state.get("league", {}).get("members", {})]
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"the checkpoint {run.dir.newest()} is damaged ({error}): restore it") from None
    names = {seat: policy.name for seat, policy in run.seats.items()}
    settings = read_toml(run.dir.config)
    for version in versions:
        folder = run.dir.frozen(version)
        loaded = _loaded(settings, run.world, {name: folder / name for name in names.values()})
        yield version, {seat: loaded[name] for seat, name in names.items()}


def _loaded(settings: dict[str, Any], home: World, folders: Mapping[str, Path]) -> Mapping[str, LanguageModel]:
    """Load policies from their folders; the adapters of pretrained ones share one base."""
    from marl.models.language_model import load

    policy = settings.get("policy", {})
    if "hf" not in policy:
        return {name: load(folder) for name, folder in folders.items()}
    from marl.models.pretrained import policies

    return policies(check(HfPolicy, policy, "policy"), list(folders), home.about, saved=folders)


def _table(settings: dict[str, Any], key: str, folder: RunDir) -> dict[str, Any]:
    value = settings.get(key)
    if not isinstance(value, dict):
        raise UserError(f"{folder.config} has no [{key}]: restore the file the run began with")
    return value


def _names(settings: dict[str, Any], home: World, checkpoint: Path) -> dict[str, str]:
    """Return seat -> folder of its policy: one for each seat, or one that all share."""
    sharing = settings.get("sharing", "separate")
    if isinstance(sharing, dict):
        sharing = {name: tuple(seats) for name, seats in sharing.items()}
    names = policy_names(sharing, home.agents)
    for name in names.values():
        if not (checkpoint / "policies" / name).is_dir():
            raise UserError(f"the checkpoint {checkpoint} lacks the policy {name}: restore it or train again")
    return names


def _version(checkpoint: Path) -> int:
    try:
        return int(json.loads((checkpoint / "state.json").read_text())["update"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"the checkpoint {checkpoint} is damaged ({error}): restore it or train again") from None
