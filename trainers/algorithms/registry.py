"""Registry of algorithms: the built-in types, and classes of your own by `module:Class`.

Building an algorithm of your own imports its module, so only `load_trainer` does, for a name the user wrote: a log or a
run from elsewhere that names a module is rejected until then.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from marl.errors import UserError
from marl.settings import check
from trainers.algorithm import ASSEMBLIES
from trainers.algorithms.mappo import PolicyGradientTrainer
from trainers.trainer import Trainer, TrainerConfig

DEFAULT: Final = "mappo"

TRAINERS: Final[dict[str, type[Trainer]]] = dict.fromkeys(ASSEMBLIES, PolicyGradientTrainer)
"""`algorithm.type` -> class; `TRAINERS["mine"] = Mine` adds an algorithm from Python."""


def trainer_class(name: str) -> type[Trainer]:
    """Return a registered class; raises UserError with a likely name."""
    if name in TRAINERS:
        return TRAINERS[name]
    if ":" in name:
        raise UserError(
            f"{name!r} is not loaded; name it in a configuration on the command line, or in Python "
            f"call trainers.algorithms.registry.load_trainer({name!r}) first"
        )
    close = get_close_matches(name, TRAINERS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(TRAINERS)}, and your own as module:Class"
    raise UserError(f"there is no algorithm {name!r}; {hint}")


def load_trainer(name: str, folders: Sequence[Path] = ()) -> type[Trainer]:
    """Import and register `module:Class`, found in these folders or where Python finds modules; raises UserError."""
    if name in TRAINERS:
        return TRAINERS[name]
    module_name, _, class_name = name.partition(":")
    if not module_name or not class_name.isidentifier():
        raise UserError(f"algorithm.type: {name!r} must be module:Class, such as my_module:Reinforce")
    module = _imported(module_name, folders)
    if not hasattr(module, class_name):
        classes = [key for key, value in vars(module).items() if isinstance(value, type)]
        close = get_close_matches(class_name, classes, n=1)
        hint = f"did you mean {close[0]}?" if close else "define it there, or correct the name"
        raise UserError(f"algorithm.type: module {module_name} has no class {class_name}; {hint}")
    kind = getattr(module, class_name)
    if not isinstance(kind, type) or not issubclass(kind, Trainer):
        raise UserError(f"algorithm.type: {name} is not a subclass of trainers.trainer.Trainer")
    if missing := sorted(getattr(kind, "__abstractmethods__", ())):
        raise UserError(f"algorithm.type: {name} lacks the method {missing[0]}: define it")
    if not issubclass(kind.Config, TrainerConfig):
        raise UserError(f"algorithm.type: {name}.Config is not a subclass of trainers.trainer.TrainerConfig")
    TRAINERS[name] = kind
    return kind


def algorithm_config(settings: Any) -> Any:
    """Validate an [algorithm] table with the `Config` of its type; raises UserError for one of your own.

    Built-in types raise pydantic's ValidationError, so that the whole configuration is reported at once.
    """
    if not isinstance(settings, dict):
        return settings
    name = settings.get("type", DEFAULT)
    if not isinstance(name, str):
        return settings
    config = trainer_class(name).Config
    if name in ASSEMBLIES:
        return config.model_validate(settings)
    return check(config, {"type": name, **settings}, f"type {name}")


def _imported(name: str, folders: Sequence[Path]) -> Any:
    """Import a module, these folders first."""
    before = list(sys.path)
    sys.path[:0] = [str(folder.absolute()) for folder in folders]
    importlib.invalidate_caches()
    try:
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(name=name)
        return importlib.import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name in (name, name.partition(".")[0]):
            where = " and ".join(dict.fromkeys(map(str, folders))) or "sys.path"
            raise UserError(f"algorithm.type: there is no module {name} in {where}; is it spelled right?") from None
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"algorithm.type: module {name} fails to import ({type(error).__name__}: {reason})") from error
    finally:
        sys.path[:] = before
