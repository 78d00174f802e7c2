"""Names of settings on the command line: `n=8` stands for `scenario.arena.n=8`, on every command alike."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marl.errors import UserError
from marl.settings import dotted_names, override

if TYPE_CHECKING:
    from pydantic import BaseModel

ARENA = "scenario.arena."
SCENARIO = "scenario."


def run_settings(words: Sequence[str], settings: Mapping[str, Any], config: type[BaseModel]) -> list[str]:
    """Return KEY=VALUE words with the full keys of a run's configuration; raises UserError for an unknown name.

    Args:
        words: as typed; `n`, `arena.n` and `scenario.arena.n` are one key, as are `floor` and `scenario.floor`.
        settings: of the run so far, which name the arena.
        config: the model of a run's configuration, whose own settings win over an arena's parameter of the same name.
    """
    known = list(dotted_names(config))
    return list(_full(words, _arena(settings.get("scenario"), words), config.model_fields, known))


def scenario_settings(words: Sequence[str], scenario: Mapping[str, Any]) -> list[str]:
    """Return KEY=VALUE words with keys that begin at the scenario; raises UserError for an unknown name."""
    from marl.scenario.config import Scenario

    known = [SCENARIO + name for name in dotted_names(Scenario)]
    return [word.removeprefix(SCENARIO) for word in _full(words, _arena(scenario, words), (), known)]


def arena_options(words: Sequence[str], arena: str) -> dict[str, Any]:
    """Return the parameters of an arena that KEY=VALUE words set; raises UserError for an unknown name."""
    keys = list(_full(words, arena, (), []))
    for word, key in zip(words, keys, strict=True):
        if not key.startswith(ARENA):
            raise UserError(f"{word}: this command takes parameters of the arena only, such as {_example(arena)}")
    return override({}, [key.removeprefix(ARENA) for key in keys])


def _full(words: Sequence[str], arena: str, top: Collection[str], known: Sequence[str]) -> Iterator[str]:
    """Yield each KEY=VALUE word with its full key."""
    from marl.scenario.config import Scenario

    for word in words:
        key, equals, _ = word.partition("=")
        first = key.partition(".")[0]
        if not equals or first in top or first == "scenario":  # `override` explains a missing =
            yield word
        elif first in Scenario.model_fields:
            yield SCENARIO + word
        elif _takes(arena, first):
            yield ARENA + word
        else:
            names = [*known, *(ARENA + name for name in _parameters(arena))]
            raise UserError(f"there is no setting {key}; {_hint(key, names, top)}")


def _hint(key: str, names: Sequence[str], top: Collection[str]) -> str:
    """Suggest settings whose last name is that of the key, or else like it."""
    last = key.rpartition(".")[2]
    by_last: dict[str, list[str]] = {}
    for name in names:
        by_last.setdefault(name.rpartition(".")[2], []).append(name.removeprefix(ARENA))
    for match in [last] if last in by_last else get_close_matches(last, by_last, n=1):
        return f"did you mean {' or '.join(by_last[match][:3])}?"
    parameters = [name.removeprefix(ARENA) for name in names if name.startswith(ARENA)]
    listed = ", ".join([*top, *parameters]) or "none"
    return f"known here: {listed}"


def _arena(scenario: object, words: Sequence[str]) -> str:
    """Return the name of the arena that a scenario will have."""
    table = scenario.get("arena") if isinstance(scenario, Mapping) else None
    name = str(table.get("name", "")) if isinstance(table, Mapping) else ""
    for word in words:
        key, _, value = word.partition("=")
        if key.removeprefix(SCENARIO) == "arena.name":
            name = value.strip("'\"")
    return name


def _signature(arena: str) -> Mapping[str, Parameter]:
    """Return the parameters of an arena's constructor; none for an arena that does not exist."""
    import arenas
    from marl.scenario.arena_file import is_file

    try:
        if is_file(arena):
            path = str(Path(arena).absolute())
            arena = path if path in arenas.ARENAS else arenas.load(path)
        return signature(arenas.find(arena)).parameters
    except arenas.ArenaError:
        return {}


def _parameters(arena: str) -> list[str]:
    return [name for name, p in _signature(arena).items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]


def _takes(arena: str, name: str) -> bool:
    """Whether an arena has a parameter of this name, or takes any, as the arenas around other arenas do."""
    parameters = _signature(arena)
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _example(arena: str) -> str:
    return f"{next(iter(_parameters(arena)), 'n')}=8"
