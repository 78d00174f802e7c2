"""Resolve CONFIG_OR_ARENA of a command line: a TOML file, a run folder or an arena becomes settings of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from arenas import ArenaError
from marl.cli.console import ERR
from marl.errors import UserError
from marl.rundir.folder import RunDir
from marl.scenario import arena_file, paths
from marl.settings import read_toml
from protocols import ProtocolError

if TYPE_CHECKING:
    from pydantic import BaseModel


def source_settings(source: str) -> dict[str, Any]:
    """Return the settings of a TOML file or run folder, or the defaults for an arena. Raises UserError, ArenaError."""
    from arenas import make

    path = Path(source)
    if path.suffix == ".toml":
        return _anchored(read_toml(path), path.parent)
    if (folder := RunDir(path)).exists:
        return _anchored(read_toml(folder.config), path) | {"out": source}  # the folder may have been moved
    if arena_file.is_file(source):
        return {"scenario": {"arena": {"name": source}}, "out": f"runs/{path.stem}"}
    make(source)  # raises ArenaError, with a likely name, before anything slow is loaded
    return {"scenario": {"arena": {"name": source}}, "out": f"runs/{source}"}


def _anchored(settings: dict[str, Any], base: Path) -> dict[str, Any]:
    """Make paths beside a configuration absolute, so that they are found from any working directory."""
    scenario, policy = settings.get("scenario"), settings.get("policy")
    if isinstance(policy, dict) and isinstance(policy.get("hf"), str):
        settings = settings | {"policy": policy | {"hf": paths.beside(policy["hf"], base)}}
    return settings | {"scenario": arena_file.anchored(scenario, base)} if isinstance(scenario, dict) else settings


def admit_arena(settings: dict[str, Any]) -> dict[str, Any]:
    """Import the arena file, if the settings name one. Its code runs: the user named it on the command line."""
    scenario = settings.get("scenario")
    return settings | {"scenario": arena_file.admit(scenario)} if isinstance(scenario, dict) else settings


def admit(source: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Run the files that the user's settings name: of an arena, and of an algorithm by `module:Class`."""
    return admit_algorithm(source, admit_arena(settings))


def admit_algorithm(source: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Import an algorithm named `module:Class`, beside its TOML file or in the current folder; raises UserError."""
    algorithm = settings.get("algorithm")
    name = algorithm.get("type") if isinstance(algorithm, dict) else None
    if isinstance(name, str) and ":" in name:
        from trainers.algorithms.registry import load_trainer

        path = Path(source)
        beside = [path.parent] if path.suffix == ".toml" else []
        load_trainer(name, [*beside, Path.cwd()])
    return settings


def build(make: Any, config: Any) -> Any:
    """Call `make(config)`; errors of the model libraries become a UserError that points at the configuration."""
    try:
        return make(config)
    except (UserError, ArenaError, ProtocolError, ImportError, OSError):
        raise
    except Exception as error:  # the libraries agree on no type for it
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"the models cannot be built as configured ({reason}): see [policy], [algorithm], device"
        ) from error


def run_config_class() -> type[BaseModel]:
    """Import RunConfig, and torch with it."""
    with ERR.status("loading PyTorch"):
        from trainers.run_config import RunConfig
    return RunConfig
